"""Stage ``report``: the tables and plots people read."""

from __future__ import annotations

from velocity.evaluation.plots import draw
from velocity.evaluation.report import Results, model_card, report
from velocity.files import atomic_directory, write_text
from velocity.project import MODEL_CARD, REPORT, REPORTS
from velocity.stages import run


def main() -> None:
    results = Results.load()
    with atomic_directory(REPORTS / "plots") as folder:
        draw(results, folder)
    write_text(REPORT, report(results))
    write_text(MODEL_CARD, model_card(results))


if __name__ == "__main__":
    run(main)
