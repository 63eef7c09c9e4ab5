"""Validation's measurements over Dask workers, as a Prefect flow: one task run for each part of each corpus.

A part is a slice of a manifest; its rows lie in ``data/parts`` (velocity.data.parts), where the stage ``validate``
looks before it computes any. So the workers need nothing but the project's folder on a shared file system, parts that
are there are not computed again, and an interrupted run goes on where it was. ``python -m flows.fanout --help``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.pipeline import one_line_errors
from flows.processes import start_prefect
from velocity.config import load_params
from velocity.data.inspection import AUDIO_WORK, PART, measure_recordings
from velocity.data.manifests import RECORDINGS, open_lines
from velocity.data.parts import Part, parts
from velocity.errors import VelocityError
from velocity.project import MANIFESTS

if TYPE_CHECKING:
    from prefect_dask import DaskTaskRunner

IN_FLIGHT = 1000  # parts handed out at a time: the driver's memory does not grow with the corpus


@flow(name="fanout")
def fanout(corpora: list[str]) -> int:
    """Compute the parts that are missing, each in a task run; how many there were.

    Raises VelocityError for a missing manifest, and when the workers see another folder than this process.
    """
    pending: deque = deque()
    count = 0
    for part in missing_parts(corpora):
        pending.append((part, compute.submit(part)))
        count += 1
        if len(pending) == IN_FLIGHT:
            finish(*pending.popleft())
    while pending:
        finish(*pending.popleft())
    return count


def missing_parts(corpora: list[str]) -> Iterator[Part]:
    """The parts of what ``validate`` measures that are not on disk, in the order of the manifests."""
    for name in corpora:
        for part in parts(AUDIO_WORK, open_lines(MANIFESTS / name / RECORDINGS), PART):
            if not part.path.exists():
                yield part


@task(cache_policy=NO_CACHE, persist_result=False)
def compute(part: Part) -> None:
    """On a worker, whose current folder is the project's."""
    part.rows(partial(measure_recordings, threads=1))


def finish(part: Part, future: object) -> None:
    future.result()
    if not part.path.exists():
        raise VelocityError(f"{part.path}: computed, but not found; start the workers in this folder on a shared disk")


def runner(workers: int, address: str | None) -> DaskTaskRunner:
    """The Dask cluster at ``address``, else ``workers`` processes on this machine for as long as the flow runs."""
    from prefect_dask import DaskTaskRunner

    if address:
        return DaskTaskRunner(address=address)
    local = {"n_workers": workers, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=local)


def main(
    corpora: Annotated[list[str] | None, typer.Argument(help="Corpora of params.yaml (default: all).")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes to start on this machine.")] = os.cpu_count() or 1,
    address: Annotated[
        str | None, typer.Option(help="A Dask scheduler to use instead, such as tcp://10.0.0.5:8786.")
    ] = None,
) -> None:
    """Validate the fetched corpora on Dask workers; `dvc repro validate` then uses their measurements.

    Workers on other machines: `dask scheduler` on one, `dask worker tcp://HOST:8786 --nthreads 1 --nworkers N` on each,
    started in the project's folder, which all of them see under the same path.
    """
    with one_line_errors("parts"):
        names = corpora or sorted(load_params().corpora)
        if not any(missing_parts(names)):
            print("fanout: every part is there")
            return
        start_prefect()
        count = fanout.with_options(task_runner=runner(workers, address))(names)
    print(f"fanout: {count} parts computed")


if __name__ == "__main__":
    typer.run(main)
