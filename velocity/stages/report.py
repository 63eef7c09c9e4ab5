"""Stage ``report``: the tables and plots people read."""

from __future__ import annotations

from pathlib import Path

from velocity.evaluation.model_card import model_card
from velocity.evaluation.plots import draw
from velocity.evaluation.report import Results, report
from velocity.files import atomic_directory, write_text
from velocity.stages import run

REPORTS = Path("reports")


def main() -> None:
    results = Results.load()
    with atomic_directory(REPORTS / "plots") as folder:
        draw(results, folder)
    write_text(REPORTS / "README.md", report(results))
    write_text(REPORTS / "MODEL_CARD.md", model_card(results))


if __name__ == "__main__":
    run(main)
