"""params.yaml: what is refused, and that the message names the key."""

from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from velocity.commands.profile import apply_profile
from velocity.config import load_params, parse_params
from velocity.errors import VelocityError

ROOT = Path(__file__).parents[1]


def document() -> dict:
    return YAML(typ="safe").load(ROOT / "params.yaml")


def test_committed_params_are_accepted():
    params = load_params(ROOT / "params.yaml")
    assert params.corpora["synthetic"].kind == "synthetic"
    assert params.model.heads % 2 == 0


@pytest.mark.parametrize("profile", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_overlays_the_default(profile, tmp_path):
    target = tmp_path / "params.yaml"
    target.write_text((ROOT / "params.yaml").read_text())
    assert apply_profile(str(profile), target)
    assert load_params(target) != load_params(ROOT / "params.yaml")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("sed",), 1, "sed: unknown key"),
        (("model", "blokcs"), 3, "model.blokcs: unknown key"),
        (("model", "blocks"), "many", "model.blocks: .*integer"),
        (("model", "dim"), [1], "model.dim: .*integer"),
        (("model", "head_dim"), 50, "model: expand.dim = 192 is not a multiple of head_dim = 50"),
        (("model", "direction"), "sideways", "model.direction: .*'bidirectional' or 'causal'"),
        (("finetune", "weight_bits"), 3, "finetune.weight_bits: .*8, 4 or 2"),
        (("finetune",), {"optimisation": {"steps": 1}, "weight_bits": 2, "qat": False}, "weight_bits below 8 need qat"),
        (("finetune", "optimisation"), 7, "finetune.optimisation: must be a section of keys"),
        (("corpora", "x"), {"kind": "folder"}, "corpora.x.source: missing key"),
        (("corpora", "x"), {"kind": "tape", "source": "y"}, "corpora.x: .*'tape'.*'folder'"),
    ],
)
def test_faults_are_named(path, value, message):
    params = document()
    section = params
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    with pytest.raises(VelocityError, match=message) as caught:
        parse_params(params, "params.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("params.yaml: ")


def test_missing_key_missing_file_and_broken_yaml(tmp_path):
    params = document()
    del params["seed"]
    with pytest.raises(VelocityError, match="seed: missing key"):
        parse_params(params)
    with pytest.raises(VelocityError, match=r"nowhere\.yaml: no such file"):
        load_params(tmp_path / "nowhere.yaml")
    (tmp_path / "broken.yaml").write_text("seed: [1\nthreads: 2\n")
    with pytest.raises(VelocityError, match=r"broken\.yaml line [0-9]+: not YAML"):
        load_params(tmp_path / "broken.yaml")


@pytest.mark.parametrize(
    "source", ["https://me:hunter2@example.org/speech", "https://example.org/speech?X-Amz-Signature=hunter2"]
)
def test_a_password_is_refused_and_not_repeated(tmp_path, source):
    params = tmp_path / "params.yaml"
    params.write_text((ROOT / "params.yaml").read_text().replace('url: ""', f'url: "{source}"'))
    with pytest.raises(VelocityError, match=r"params\.yaml line \d+: a password") as caught:
        load_params(params)
    assert "hunter2" not in str(caught.value)


def test_params_are_frozen():
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(AttributeError):
        params.seed = 2
    assert replace(params, seed=2).seed == 2
