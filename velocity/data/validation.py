"""What speech must be like before anything is trained on it.

Two tables are judged: ``audio``, a row a recording, decoded to its end; and ``utterances``, a row a transcript.
Great Expectations 1.x is used here alone; its pages for people ("data docs") are written beside the summary.
"""

from __future__ import annotations

import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.config import Validation
from velocity.errors import VelocityError
from velocity.progress import track
from velocity.text import foreign_letters, normalize

if TYPE_CHECKING:
    import pandas
    from great_expectations.expectations import Expectation
    from lhotse import Recording, RecordingSet, SupervisionSet

FULL_SCALE = 0.999  # a sample at least as large is clipped
SILENT_DB = -120.0  # the level of digital silence
MAX_MISSING_SECONDS = 0.1  # of what the header promises: MP3 and Ogg headers are a little off
BLOCK = 1 << 16  # frames decoded at a time
SHOWN = 3  # of the utterances that fail an expectation


@dataclass(frozen=True)
class Outcome:
    """One expectation over a column of a table: the sentence that says it, and the ids that break it, in order."""

    table: str
    column: str
    expectation: str
    success: bool
    rows: int
    failed: list[str]


def measure_audio(recordings: RecordingSet, threads: int) -> pandas.DataFrame:
    """Decode every recording once: ids, files and figures, a row a recording, in the manifest's order."""
    import pandas

    with ThreadPoolExecutor(threads) as pool:
        rows = list(track(pool.map(_measure, recordings), "decode", len(recordings)))
    return pandas.DataFrame(rows)


def _measure(recording: Recording) -> dict[str, Any]:
    """Levels are relative to full scale, over all channels; what cannot be decoded counts as missing."""
    import soundfile

    path = recording.sources[0].source
    frames = count = clipped = not_numbers = rate = channels = 0
    total = energy = 0.0
    try:
        with soundfile.SoundFile(path) as file:
            rate, channels = file.samplerate, file.channels
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                frames += len(block)
                count += block.size
                finite = np.isfinite(block)
                if not finite.all():
                    not_numbers += int(block.size - finite.sum())
                    block = np.where(finite, block, 0.0)
                clipped += int((np.abs(block) >= FULL_SCALE).sum())
                total += float(block.sum(dtype=np.float64))
                energy += float(np.square(block, dtype=np.float64).sum())
    except (soundfile.LibsndfileError, OSError, RuntimeError):
        pass  # the frames that did not come are missing_seconds
    power = energy / count if count else 0.0
    return {
        "id": recording.id,
        "path": path,
        "rate": rate,
        "channels": channels,
        "seconds": frames / rate if rate else 0.0,
        "missing_seconds": recording.duration - (frames / rate if rate else 0.0),
        "level_db": max(SILENT_DB, 10 * np.log10(power)) if power else SILENT_DB,
        "clipped": clipped / count if count else 0.0,
        "dc_offset": total / count if count else 0.0,
        "not_numbers": not_numbers,
    }


def measure_text(supervisions: SupervisionSet) -> pandas.DataFrame:
    """Normalise every transcript: a row an utterance, in the manifest's order."""
    import pandas

    rows = []
    for segment in supervisions:
        text = normalize(segment.text or "")
        rows.append(
            {
                "id": segment.id,
                "seconds": segment.duration,
                "characters": len(text),
                "characters_per_second": len(text) / segment.duration if text else None,
                "foreign_letters": len(foreign_letters(segment.text or "")),
            }
        )
    return pandas.DataFrame(rows, columns=["id", "seconds", "characters", "characters_per_second", "foreign_letters"])


def check_tables(
    tables: dict[str, pandas.DataFrame], limits: Validation, data_docs: str | Path | None = None
) -> list[Outcome]:
    """Judge the tables ``audio`` and ``utterances`` (left out when it has no rows); the data docs replace a folder."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported; it would report to its makers
    import great_expectations as gx

    for noisy in ("great_expectations", "posthog"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    for site in list(context.list_data_docs_sites()):
        context.delete_data_docs_site(site)
    actions = []
    if data_docs is not None:
        shutil.rmtree(data_docs, ignore_errors=True)  # pages of earlier runs
        store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(Path(data_docs).absolute())}
        index = {"class_name": "DefaultSiteIndexBuilder"}
        site = {"class_name": "SiteBuilder", "store_backend": store, "site_index_builder": index}
        context.add_data_docs_site("validation", site)
        actions.append(gx.checkpoint.UpdateDataDocsAction(name="data docs", site_names=["validation"]))
    source = context.data_sources.add_pandas("speech")
    wanted = _expectations(limits, len(tables["utterances"]))
    outcomes = []
    for name, table in tables.items():
        if table.empty:
            continue
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        suite = context.suites.add(gx.ExpectationSuite(name, expectations=wanted[name]))
        definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
        context.validation_definitions.add(definition)
        checkpoint = gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            actions=actions,
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["id"]},
        )
        run = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": table})
        (judged,) = run.run_results.values()
        for result in judged.results:
            failed = [row["id"] for row in result.result.get("unexpected_index_list") or []]
            config = result.expectation_config
            outcome = Outcome(name, config.kwargs["column"], config.description, result.success, len(table), failed)
            outcomes.append(outcome)
    order = [expectation.description for expectations in wanted.values() for expectation in expectations]
    return sorted(outcomes, key=lambda outcome: order.index(outcome.expectation))


def _expectations(limits: Validation, utterances: int) -> dict[str, list[Expectation]]:
    """By table. Transcripts bound the length: a recording without one is cut into windows by ``prepare``."""
    from great_expectations.expectations import ExpectColumnValuesToBeBetween as Between
    from great_expectations.expectations import ExpectColumnValuesToBeUnique as Unique

    offset, missing, empty = limits.max_dc_offset, MAX_MISSING_SECONDS, limits.max_empty_after_normalization
    pace = (limits.min_characters_per_second, limits.max_characters_per_second)
    # Half an utterance of slack keeps the share on the right side of the number that is allowed.
    filled = max(0.0, 1 - (empty + 0.5) / max(1, utterances)) if empty else 1.0

    def between(column: str, low: float | None, high: float | None, sentence: str, mostly: float = 1.0) -> Between:
        return Between(column=column, min_value=low, max_value=high, mostly=mostly, description=sentence)

    return {
        "audio": [
            Unique(column="id", description="recording ids are unique"),
            between("missing_seconds", -missing, missing, "audio decodes to the end its header promises"),
            between("not_numbers", None, 0, "samples are numbers (no NaN, no Inf)"),
            between("seconds", limits.min_seconds, None, "audio is not shorter than validate.min_seconds"),
            between("level_db", limits.min_level_db, None, "audio is not silent (validate.min_level_db)"),
            between("clipped", None, limits.max_clipped, "audio is not clipped (validate.max_clipped)"),
            between("dc_offset", -offset, offset, "audio has no DC offset (validate.max_dc_offset)"),
        ],
        "utterances": [
            Unique(column="id", description="utterance ids are unique"),
            between("seconds", None, limits.max_seconds, "utterances are not longer than validate.max_seconds"),
            between("foreign_letters", None, 0, "transcripts have no letters that normalisation drops"),
            between("characters", 1, None, "transcripts are not empty once normalised", mostly=filled),
            between("characters_per_second", *pace, "pace is that of speech (validate.*_characters_per_second)"),
        ],
    }


def refuse_failures(outcomes: list[Outcome], tables: dict[str, pandas.DataFrame]) -> None:
    """Raise VelocityError for the first expectation that failed, naming it and the first few files or utterances."""
    failures = [outcome for outcome in outcomes if not outcome.success]
    if not failures:
        return
    first = failures[0]
    rows = tables[first.table].set_index("id", drop=False)
    shown = ", ".join(_show(rows, utterance, first.column) for utterance in first.failed[:SHOWN])
    dots = ", …" if len(first.failed) > SHOWN else ""
    more = f" (and {len(failures) - 1} more expectations)" if len(failures) > 1 else ""
    raise VelocityError(f"{first.expectation}: {len(first.failed)} of {first.rows} do not comply{more}: {shown}{dots}")


def _show(rows: pandas.DataFrame, utterance: str, column: str) -> str:
    row = rows.loc[[utterance]].iloc[0]
    where = row.get("path", utterance)
    return str(where) if column == "id" else f"{where} ({column} {row[column]:.4g})"


def summarise(tables: dict[str, pandas.DataFrame], outcomes: list[Outcome]) -> dict[str, Any]:
    """Counts, hours and quantiles by corpus, and each expectation with the number that break it: a metric for DVC."""
    audio, utterances = tables["audio"], tables["utterances"]
    corpora = {}
    for name, part in audio.groupby(audio["id"].str.partition("/")[0]):
        texts = utterances[utterances["id"].str.startswith(f"{name}/")]
        corpora[name] = {
            "recordings": len(part),
            "utterances": len(texts),
            "hours": round(float(part["seconds"].sum()) / 3600, 4),
            "rates": {str(rate): int(count) for rate, count in part["rate"].value_counts().items()},
            "channels": {str(channels): int(count) for channels, count in part["channels"].value_counts().items()},
            **{column: _quantiles(part[column]) for column in ("seconds", "level_db", "clipped", "dc_offset")},
        }
        if len(texts):
            corpora[name]["characters_per_second"] = _quantiles(texts["characters_per_second"])
    expectations = [{**asdict(outcome), "failed": len(outcome.failed)} for outcome in outcomes]
    return {"corpora": corpora, "expectations": expectations}


def _quantiles(values: pandas.Series) -> dict[str, float]:
    shares = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
    return {name: round(float(values.quantile(share)), 4) for name, share in shares.items()}
