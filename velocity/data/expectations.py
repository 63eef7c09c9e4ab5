"""Great Expectations 1.x, here alone: it judges the tables, and writes pages for people ("data docs")."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.data.checks import Check
from velocity.progress import track

if TYPE_CHECKING:
    import pandas

ROWS = 500_000  # judged at a time: Great Expectations copies a table several times over
RESULT = {  # of an expectation: every row that fails it
    "result_format": "COMPLETE",
    "unexpected_index_column_names": ["row", "id"],
    "return_unexpected_index_query": False,
}


def judge(
    tables: Mapping[str, pandas.DataFrame], checks: Iterable[Check], data_docs: str | Path | None = None
) -> list[np.ndarray]:
    """The rows of its table that fail, for each of ``checks``; the pages replace the folder ``data_docs``."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported; it would report to its makers
    import great_expectations as gx

    for noisy in ("great_expectations", "posthog"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    actions = _publish(context, data_docs)
    source = context.data_sources.add_pandas("speech")
    checks = list(checks)
    failed: list[list[np.ndarray]] = [[] for _ in checks]
    for name, table in tables.items():
        places = {f"{check.name}: {check.sentence}": place for place, check in enumerate(checks) if check.table == name}
        starts = range(0, len(table), ROWS)
        if not starts:
            continue
        suite = gx.ExpectationSuite(name, expectations=[_expectation(checks[i], text) for text, i in places.items()])
        context.suites.add(suite)
        for start in track(starts, f"judge {name}", len(starts)) if len(starts) > 1 else starts:
            label = name if len(starts) == 1 else f"{name} from row {start}"
            block = table.iloc[start : start + ROWS].rename_axis("row").reset_index()
            batch = source.add_dataframe_asset(label).add_batch_definition_whole_dataframe(label)
            definition = gx.ValidationDefinition(name=label, data=batch, suite=suite)
            context.validation_definitions.add(definition)
            checkpoint = gx.Checkpoint(
                name=label, validation_definitions=[definition], actions=actions, result_format=RESULT
            )
            run = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": block})
            (judged,) = run.run_results.values()
            for result in judged.results:
                rows = [row["row"] for row in result.result.get("unexpected_index_list") or []]
                failed[places[result.expectation_config.description]].append(np.array(rows, np.int64))
    return [np.concatenate([np.array([], np.int64), *blocks]) for blocks in failed]


def _publish(context: Any, data_docs: str | Path | None) -> list[Any]:
    """Point the context's pages to a folder, emptied first; what a checkpoint does to add to them."""
    from great_expectations.checkpoint import UpdateDataDocsAction

    for site in list(context.list_data_docs_sites()):
        context.delete_data_docs_site(site)
    if data_docs is None:
        return []
    shutil.rmtree(data_docs, ignore_errors=True)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(Path(data_docs).absolute())}
    index = {"class_name": "DefaultSiteIndexBuilder"}
    site = {"class_name": "SiteBuilder", "store_backend": store, "site_index_builder": index}
    context.add_data_docs_site("validation", site)
    return [UpdateDataDocsAction(name="data docs", site_names=["validation"])]


def _expectation(check: Check, sentence: str) -> Any:
    from great_expectations.expectations import ExpectColumnValuesToBeBetween

    return ExpectColumnValuesToBeBetween(
        column=check.column, min_value=check.low, max_value=check.high, description=sentence
    )
