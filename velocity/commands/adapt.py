"""``velocity-asr adapt``: a released model fitted to one person's speech, by the stages of the project's own pipeline.

Everything before the verdict happens in a folder beside the result: a killed run goes on there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import velocity
from velocity.adaptation.average import export_average
from velocity.adaptation.judgement import GENERAL, OWN, judge_adaptation, keeps, rates
from velocity.adaptation.speech import TRAIN, Parts, divide, total, write_parts
from velocity.adaptation.workspace import Workspace
from velocity.commands.models import find_artefact
from velocity.commands.profile import merge
from velocity.config import parse_params
from velocity.config.gate import Gate
from velocity.config.reader import SHIPPED, default_section, read_params
from velocity.corpora.collection import read_collection
from velocity.errors import VelocityError
from velocity.evaluation.isolated import IsolatedRecogniser
from velocity.evaluation.testset import Utterance, load_test_set
from velocity.files import atomic_directory, md5, write_json
from velocity.gate import Hypotheses, Judgement, Verdict
from velocity.project import ACCEPTED, FINETUNED, PARAMS, test_manifests
from velocity.run import prepare_child

PACKAGE = Path(velocity.__file__).parent
OVERLAY = PACKAGE / "adaptation" / "params.yaml"
CORPUS = "speech"
STAGES = ("fetch", "validate", "prepare", "finetune")
SHARES = (1.0, 0.75, 0.5, 0.25)  # of what was trained, the rest being the base: the first that keeps general speech
HEARD_A_SECOND = 20.0  # of speech, by a training of the 4 M-parameter model on two cores
MOST_EPOCHS = 40  # little speech is not heard more often, however much time there is
FEWEST_STEPS = 20
GENERAL_UTTERANCES, GENERAL_VOICES, GENERAL_SEED = 300, 50, 1  # a minute's work; the synthesiser has 104 voices


def adapt(
    source: Path, out: Path, base: str | None, minutes: float, general: str | None
) -> tuple[Judgement, dict[str, Any]]:
    """Adapt ``base`` to the speech in ``source``; write the result to ``out`` if the judgement is a pass.

    Returns the judgement and the error rates of both models (``velocity.adaptation.judgement.rates``).
    Raises VelocityError for an ``out`` that exists, a model that cannot be adapted, and speech that is missing, too
    little, or refused by the stage ``validate``.
    """
    if out.exists() or out.is_symlink():
        raise VelocityError(f"{out}: exists already; name another folder, or remove it")
    spoken = read_collection(source)
    parts = divide(spoken, source)
    started_from = find_artefact(base, quantized=True).resolve()
    described = _described(started_from)
    others = None if general is None else load_test_set(general)[1]
    files = [(str(one.path.resolve()), one.path.stat().st_size, one.path.stat().st_mtime_ns) for one in spoken]
    texts = [(one.text, one.speaker) for one in spoken]
    inputs = {"base": str(started_from), "model": md5(started_from / "model.onnx"), "minutes": minutes}
    inputs |= {"speech": [files, texts], "settings": OVERLAY.read_text(encoding="utf-8")}
    workspace = Workspace(out.parent / f"{out.name}.adapting", {**inputs, "version": velocity.__version__})

    lay_out = partial(_lay_out, workspace.folder, parts, started_from, described["model"], minutes)
    workspace.step("speech", lay_out)
    for number, stage in enumerate(STAGES, 1):
        if not workspace.has(stage):
            _say(f"step {number} of {len(STAGES) + 1}: {stage}")
        workspace.step(stage, partial(_run_stage, workspace.folder, stage, *([CORPUS] if stage == "fetch" else [])))
    if others is None:
        workspace.step("general", partial(_synthesise, workspace.folder / "general"))
        others = load_test_set(str(workspace.folder / "general"))[1]
    (manifest,) = test_manifests(workspace.folder)
    speech = {OWN: load_test_set(str(manifest))[1], GENERAL: others}

    chosen, hypotheses = _choose(workspace, started_from, described, out.name, speech)
    resamples = default_section("gate", Gate).bootstrap
    judgement = judge_adaptation(described["name"], out.name, hypotheses, resamples)
    if judgement.verdict is Verdict.PASS:
        os.replace(chosen, out)
        workspace.remove()
    return judgement, rates(hypotheses, resamples)


def _choose(
    workspace: Workspace, base: Path, described: Mapping[str, Any], name: str, speech: Mapping[str, list[Utterance]]
) -> tuple[Path, dict[str, Hypotheses]]:
    """The artefact with the first of SHARES that keeps general speech, or else with the last, and what was heard.

    General speech alone chooses it, so the held-out speech judges one model.
    """
    before = {part: _hear(base, utterances, f"{part}, base") for part, utterances in speech.items()}

    def compare(model: Path, part: str) -> Hypotheses:
        return Hypotheses(speech[part], before[part], _hear(model, speech[part], f"{part}, adapted"))

    for share in SHARES:
        _say(f"step {len(STAGES) + 1} of {len(STAGES) + 1}: judge, with {share:.0%} of what was learned")
        folder = workspace.folder / "averages" / f"{share:g}"
        export = partial(export_average, workspace.folder / FINETUNED, base, share, name, described, folder)
        workspace.step(f"average-{share:g}", export)
        elsewhere = compare(folder / "model", GENERAL)
        if keeps(elsewhere):
            break
    return folder / "model", {OWN: compare(folder / "model", OWN), GENERAL: elsewhere}


def _say(text: str) -> None:
    print(f"adapt: {text}", file=sys.stderr, flush=True)


def _hear(model: Path, utterances: Sequence[Utterance], title: str) -> list[str]:
    """Greedily: the models are compared, not their language model."""
    with IsolatedRecogniser(model) as recogniser:
        return recogniser.transcribe(utterances, title)


def _described(base: Path) -> dict[str, Any]:
    """``config.json`` of a model that can be adapted. Raises VelocityError for any other."""
    from velocity.quantization.base import read_base

    read_base(base)
    return json.loads((base / "config.json").read_text(encoding="utf-8"))


def _lay_out(folder: Path, parts: Parts, base: Path, model: Mapping[str, Any], minutes: float) -> None:
    """The project that the stages work in: the speech, params.yaml, and nothing accepted yet to compare it with."""
    with atomic_directory(folder / CORPUS) as speech:
        write_parts(parts, speech)
    write_json(folder / ACCEPTED, {})
    params = read_params(SHIPPED)
    list(merge(params, read_params(OVERLAY)))
    params["corpora"] = {
        # Absolute, as the test set is read from another folder.
        CORPUS: {"kind": "folder", "source": str((folder / CORPUS).resolve()), "test": "^test_", "validation": "^val"}
    }
    params["model"] = {key: value for key, value in model.items() if key != "vocabulary"}
    params["prepare"]["tokenizer"]["kind"] = "bpe"  # for validate: it counts labels by words; prepare has the tokenizer
    params["finetune"]["base"] = str(base)
    optimisation = params["finetune"]["optimisation"]
    optimisation["steps"] = steps(minutes, total(parts[TRAIN]), optimisation["batch_seconds"] * optimisation["devices"])
    parse_params(params, str(OVERLAY))
    write_json(folder / PARAMS, params)  # JSON is YAML


def steps(minutes: float, train_seconds: float, step_seconds: float) -> int:
    """Of the training: about what ``minutes`` suffice for; the same on every machine, so that results are the same."""
    heard = min(60 * minutes * HEARD_A_SECOND, MOST_EPOCHS * train_seconds)
    return max(FEWEST_STEPS, round(heard / step_seconds))


def _run_stage(folder: Path, stage: str, *arguments: str) -> None:
    """Run a stage in ``folder``; pass on what it prints. Raises VelocityError with its error, naming the folder."""
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", f"velocity.stages.{stage}", *arguments]
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=prepare_child,
    )
    failure = ""
    try:
        for line in process.stdout:
            if line.startswith("error: "):
                failure = line.removeprefix("error: ").strip()
            else:
                print(line, end="", file=sys.stderr, flush=True)
        status = process.wait()
    finally:
        process.kill()
    if status:
        raise VelocityError(f"{folder}: {failure or f'the stage {stage} failed with status {status}; see above'}")


def _synthesise(folder: Path) -> None:
    """Commands and numbers by the embedded synthesiser: not how people speak, but it shows what was forgotten."""
    from velocity.corpora.kinds.synthetic import SyntheticCorpus
    from velocity.corpora.synthetic import VOICES, synthesise_corpus

    corpus = SyntheticCorpus(kind="synthetic", source=str(VOICES), utterances=GENERAL_UTTERANCES, voices=GENERAL_VOICES)
    with atomic_directory(folder) as partial_folder:
        synthesise_corpus(corpus, GENERAL_SEED, partial_folder)
