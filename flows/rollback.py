"""Back to the previous champion, as a Prefect flow: Prefect controls and records who runs it.

The registry itself sees to it that this happens wholly or not at all. ``python -m flows.rollback --help``.
"""

from __future__ import annotations

from typing import Annotated

import typer
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.pipeline import one_line_errors
from flows.processes import start_prefect
from velocity.commands.registry import rollback as restore
from velocity.commands.registry import standing
from velocity.registry import Champions


@flow(name="rollback")
def rollback(leaving: int | None = None) -> Champions:
    """Make the previous champion the champion again; with ``leaving``, only if that version is the champion.

    Raises VelocityError when there was no previous one.
    """
    champions = restore(str(leaving) if leaving else None)
    get_run_logger().info(standing(champions))
    create_markdown_artifact(f"Rolled back. {standing(champions)}.", key="champion")
    return champions


def main(
    leaving: Annotated[
        int | None, typer.Option(help="Only if this version is the champion: the flow may then be repeated.", min=1)
    ] = None,
) -> None:
    """Make the previous champion of the model registry the champion again, and keep that with Prefect."""
    with one_line_errors("versions"):
        start_prefect()
        print(standing(rollback(leaving)))


if __name__ == "__main__":
    typer.run(main)
