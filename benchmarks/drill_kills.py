"""Kill -9 at random moments of a scheduled retraining: does the next run complete, is the registry consistent?

In each trial a change is committed that everything from the training on depends on. At a random moment of the run one
of its processes is killed: the flow's run, DVC, a stage, the command that registers or judges, Prefect's server, or the
process that serves the deployment. Those two are started again when they are gone, and the schedule goes on until the
trial's model is judged. The drill is that of tests/flows/drill.py; the result goes to reports/drill_kills.json.

    python -m benchmarks.drill_kills --kills 20
"""

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from flows.services import Services
from tests.flows.drill import TOO_FEW, Drill, wait_until
from velocity.files import write_json
from velocity.registry.champions import PENDING
from velocity.tracking.model import NAME


def trial(drill: Drill, number: int, moment: float, draw: random.Random) -> dict[str, Any]:
    """``moment``: seconds after the trial's run has begun to work."""
    with drill.between_runs():
        drill.commit(f"trial {number}", TOO_FEW + number)  # another model
    wait_until(lambda: drill.start() or works(drill), "a run that works")
    time.sleep(moment)
    victims = drill.victims()
    victim = draw.choice(sorted(victims))
    victims[victim].kill()
    killed = time.monotonic()
    wait_until(lambda: drill.start() or judged(drill) > number, "a run that completes")
    completed = time.monotonic()
    return {
        "victim": victim,
        "among": sorted(victims),
        "after_seconds": round(moment, 1),
        "completed_after_seconds": round(completed - killed, 1),
        "faults": inconsistencies(drill, number + 1),
    }


def peace(drill: Drill) -> float:
    """Seconds of the work on another model when nothing is killed."""
    with drill.between_runs():
        drill.commit("trial 1", TOO_FEW + 1)
    wait_until(lambda: works(drill), "a run that works")
    began = time.monotonic()
    wait_until(lambda: judged(drill) > 1, "the second run")
    return time.monotonic() - began


def works(drill: Drill) -> bool:
    return "dvc" in drill.victims()


def judged(drill: Drill) -> int:
    """Versions that the gate has judged."""
    return sum(verdict is not None for verdict in drill.versions().values())


def inconsistencies(drill: Drill, versions: int) -> list[str]:
    """What is wrong with the registry, when no run works."""
    with drill.between_runs():
        registered, found = drill.registry.client.get_registered_model(NAME), drill.versions()
        champions = drill.registry.champions()
    aliases = {alias: str(number) for alias, number in registered.aliases.items()}
    faults = [f"alias {alias}: version {number}" for alias, number in aliases.items() if number not in found]
    faults += [f"{PENDING}: {registered.tags[PENDING]}"] if PENDING in registered.tags else []
    faults += [f"version {number}: not judged" for number, verdict in found.items() if verdict is None]
    faults += [f"{len(found)} versions of {versions} models"] if len(found) != versions else []
    promoted = [number for number, verdict in found.items() if verdict == "pass"]
    if champions.champion != max(promoted, key=int):
        faults.append(f"champion: {champions.champion}, promoted last: {promoted[-1:]}")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("reports/drill_kills.json"))
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # an orderly end stops the servers too
    with tempfile.TemporaryDirectory() as folder, Services(Path(folder, "logs")) as running:
        drill = Drill(Path(folder, "project"), running)
        drill.make(TOO_FEW, promote="not-worse")  # each trial ends in a promotion
        drill.start()
        wait_until(lambda: judged(drill), "the first run")
        undisturbed = peace(drill)
        print(f"undisturbed: {undisturbed:.0f} s", flush=True)
        trials = []
        for number in range(2, arguments.kills + 2):
            try:
                trials.append(trial(drill, number, draw.uniform(0, undisturbed), draw))
            except AssertionError:
                print(drill.server.log.read_text(errors="replace")[-3000:], drill.log(), file=sys.stderr)
                print(*(f"{run.name}: {run.state}" for run in drill.runs()[-9:]), sep="\n", file=sys.stderr)
                raise
            print(json.dumps(trials[-1]), flush=True)
            write_json(arguments.out, {"undisturbed_seconds": round(undisturbed, 1), "trials": trials})
    failed = sum(bool(entry["faults"]) for entry in trials)
    print(f"{len(trials) - failed} of {len(trials)} kills: the next run completed and the registry was consistent")


if __name__ == "__main__":
    main()
