"""Alerts for failed flow runs: a Prefect automation that calls a webhook.

The address comes from the environment and is kept in a block of Prefect's, encrypted: it is never printed, and neither
the worker nor its flow runs see it.
"""

from __future__ import annotations

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.events.actions import CallWebhook
from prefect.events.schemas.automations import EventTrigger
from pydantic import SecretStr

NAME = "velocity-asr-failures"
TAG = "velocity-asr"  # of every deployment in prefect.yaml
FAILED = {f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")}
# What Slack, Mattermost, Discord's /slack and Teams' workflows show: {"text": …}.
PAYLOAD = """{"text": {{ (flow.name ~ " " ~ flow_run.state.name|lower ~ ": " ~ (flow_run.state.message or "no reason")
 ~ " (" ~ flow_run|ui_url ~ ")")|tojson }}}"""


def alert(url: str) -> None:
    """Have the server behind PREFECT_API_URL post each failed run of the project's deployments to ``url``."""
    block = Webhook(url=SecretStr(url), headers={"Content-Type": "application/json"}).save(NAME, overwrite=True)
    automation = Automation(
        name=NAME,
        description="Posts failed and crashed runs to the address that `make ui` was given",
        trigger=EventTrigger(
            expect=FAILED,
            match_related={"prefect.resource.id": f"prefect.tag.{TAG}"},
            for_each={"prefect.resource.id"},
            posture="Reactive",
            threshold=1,
        ),
        actions=[CallWebhook(block_document_id=block, payload=PAYLOAD)],
    )
    try:
        automation.id = Automation.read(name=NAME).id
    except ValueError:
        automation.create()
    else:
        automation.update()
