"""A model of tones, exported once for each file of tests that wants one."""

from pathlib import Path

import pytest

from tests.tone_model import write_model
from velocity.recognition.offline import VelocityASR


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "onnx")


@pytest.fixture(scope="module")
def model(folder: Path) -> VelocityASR:
    return VelocityASR(folder)
