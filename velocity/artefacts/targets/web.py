"""The web bundle: the INT8 model in a folder with a page that recognises in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.artefacts.target import Target
from velocity.artefacts.targets.onnx import write_onnx

if TYPE_CHECKING:
    from velocity.artefacts.trained import Trained


def write_web(trained: Trained, folder: Path, source: Path | None) -> dict[str, Any]:
    """The INT8 model, copied from ``source`` with its language model or made anew, with the page around it."""
    from velocity.artefacts.web_bundle import write_model, write_page

    entries = {}
    if source:
        entries = write_model(source, folder)
    else:
        write_onnx(trained, folder, None, int8=True)
    return entries | write_page(folder, trained.tokenizer)


TARGETS = {
    "web": Target(
        order=110,
        about="a folder with a page that recognises in the browser",
        write=write_web,
        model=None,
        made_from="onnx-int8",
        same_as="onnx-int8",
    ),
}
