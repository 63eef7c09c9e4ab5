"""Stage ``validate``: refuse speech that would spoil a training, naming the utterances."""

from __future__ import annotations

from pathlib import Path

from velocity.config import load_params
from velocity.data.manifests import read_recordings, read_supervisions
from velocity.data.validation import check_tables, measure_audio, measure_text, refuse_failures, summarise
from velocity.files import write_json
from velocity.stages import run

SUMMARY = Path("reports/validation/summary.json")
DATA_DOCS = Path("reports/validation/data_docs")


def main() -> None:
    params = load_params()
    SUMMARY.unlink(missing_ok=True)  # it stands for accepted speech: a refusal must not leave the last one
    manifests = [Path("data/manifests", name) for name in sorted(params.corpora)]
    recordings = [recording for folder in manifests for recording in read_recordings(folder)]
    supervisions = [segment for folder in manifests for segment in read_supervisions(folder)]
    tables = {"audio": measure_audio(recordings, params.threads), "utterances": measure_text(supervisions)}
    outcomes = check_tables(tables, params.validate, DATA_DOCS)
    refuse_failures(outcomes, tables)
    write_json(SUMMARY, summarise(tables, outcomes))


if __name__ == "__main__":
    run(main)
