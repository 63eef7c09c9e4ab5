"""The pictures in docs/operating.md, taken from a running `make ui`: the last finished run of the pipeline, MLflow's
curves of two trainings, and the registry.

    python docs/screenshots.py --prefect http://127.0.0.1:4200 --mlflow http://127.0.0.1:5000
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated
from urllib.parse import quote
from urllib.request import Request, urlopen

import typer
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).parent
PATIENCE = 120_000  # ms
WIDTH = 1280


def post(address: str, query: dict) -> list | dict:
    request = Request(address, json.dumps(query).encode(), {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        return json.load(answer)


def take(page: Page, address: str, name: str, shown: str, height: int = 800) -> None:
    """Save a picture of the page at ``address`` once it shows the text ``shown`` and is drawn."""
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.goto(address)
    page.get_by_text(shown).first.wait_for(timeout=PATIENCE)
    page.wait_for_timeout(10_000)  # the pages poll their servers forever, so nothing else shows that they are drawn
    assistant = page.get_by_role("button", name="Close", exact=True)
    if assistant.count():
        assistant.first.click()
        page.wait_for_timeout(2000)
    page.screenshot(path=HERE / f"{name}.png")
    print(f"docs/{name}.png: {(HERE / f'{name}.png').stat().st_size / 1000:.0f} kB")


def main(
    prefect: Annotated[str, typer.Option(help="Address of Prefect's UI.")] = "http://127.0.0.1:4200",
    mlflow: Annotated[str, typer.Option(help="Address of MLflow's UI.")] = "http://127.0.0.1:5000",
    browser: Annotated[str | None, typer.Option(help="Chromium to use (default: the one on PATH).")] = None,
) -> None:
    finished = {
        "sort": "START_TIME_DESC",
        "limit": 1,
        "flows": {"name": {"any_": ["pipeline"]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
    }
    (flow_run,) = post(f"{prefect}/api/flow_runs/filter", finished)
    api = f"{mlflow}/api/2.0/mlflow"
    with urlopen(f"{api}/experiments/get-by-name?experiment_name=velocity-asr") as answer:
        experiment = json.load(answer)["experiment"]["experiment_id"]
    search = quote("tags.stage = 'finetune'")
    trainings = f"experiments/{experiment}/runs?compareRunsMode=CHART&searchFilter={search}"
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=browser or shutil.which("chromium"))
        page = program.new_page()
        take(page, f"{prefect}/runs/flow-run/{flow_run['id']}", "prefect-flow-run", flow_run["name"])
        take(page, f"{prefect}/artifacts", "prefect-artifacts", "How each stage ended", height=400)
        take(page, f"{mlflow}/#/{trainings}", "mlflow-compare", "Model metrics")
        take(page, f"{mlflow}/#/models/velocity-asr", "mlflow-registry", "champion", height=1000)
        program.close()


if __name__ == "__main__":
    typer.run(main)
