"""Back to the previous champion, as a Prefect flow: who may start it, and who did, is Prefect's to say.

The registry itself sees to it that this happens wholly or not at all. ``python -m flows.rollback --help``.
"""

from __future__ import annotations

import sys

import typer
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.pipeline import told_in_one_line
from velocity.commands.registry import rollback as restore
from velocity.commands.registry import standing
from velocity.registry import Champions


@flow(name="rollback", retries=0)  # a second one would go back one version more
def rollback() -> Champions:
    """Make the previous champion the champion again. Raises VelocityError when there was none."""
    champions = restore()
    get_run_logger().info(standing(champions))
    create_markdown_artifact(f"Rolled back. {standing(champions)}.", key="champion")
    return champions


def main() -> None:
    """Make the previous champion of the model registry the champion again, and keep that with Prefect."""
    with told_in_one_line("versions"):
        print("Starting Prefect (10 to 30 seconds)", file=sys.stderr)
        print(standing(rollback()))


if __name__ == "__main__":
    typer.run(main)
