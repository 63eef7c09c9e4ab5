"""params.yaml: the only place with values; what is refused, and that the message names the key."""

from copy import deepcopy
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from ruamel.yaml import YAML

from velocity.commands.profile import apply_profile
from velocity.config import load_params, parse_params
from velocity.config.finetuning import Finetuning
from velocity.config.gate import Gate
from velocity.config.model import ModelConfig
from velocity.config.params import Params
from velocity.config.reader import SHIPPED, default_section, load_section
from velocity.errors import VelocityError

ROOT = Path(__file__).parents[1]
# The tokenizer decides of the one; models that were made before there was the other do not name it.
NOT_OF_PARAMS = {"ModelConfig.vocabulary", "ModelConfig.phones"}


COMMITTED = YAML(typ="safe").load(ROOT / "params.yaml")


def document() -> dict:
    return deepcopy(COMMITTED)


def sections(kind: type = Params) -> set[type]:
    """``kind`` and every section in it, but for the corpora, of which params.yaml names those that are used."""
    found = {kind}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        pending = [hint] if name != "corpora" else []
        while pending:
            hint = pending.pop()
            pending += get_args(hint)
            found |= sections(hint) if isinstance(hint, type) and is_dataclass(hint) else set()
    return found


def test_committed_params_are_accepted_and_shipped():
    params = load_params(ROOT / "params.yaml")
    assert params.corpora["synthetic"].kind == "synthetic"
    assert params.model.heads % 2 == 0
    assert SHIPPED.read_bytes() == (ROOT / "params.yaml").read_bytes()
    assert default_section("gate", Gate) == params.gate


def test_no_section_has_a_value_of_its_own():
    owned = sections()
    assert {Finetuning, Gate, ModelConfig} < owned
    given = {
        f"{kind.__name__}.{name}"
        for kind in owned
        for name, knob in kind.__pydantic_fields__.items()
        if not knob.is_required()
    }
    assert given == NOT_OF_PARAMS


def test_one_section_is_read_though_another_is_wrong(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text((ROOT / "params.yaml").read_text().replace("evaluate:", "elevate:"))
    assert load_section("seed", int, params) == 1
    assert load_section("finetune", Finetuning, params) == load_params(ROOT / "params.yaml").finetune
    with pytest.raises(VelocityError, match="evaluate: missing key"):
        load_section("evaluate", dict, params)
    with pytest.raises(VelocityError, match="evaluate: missing key"):
        load_params(params)


def test_augmentation_off_is_no_augmentation():
    assert default_section("finetune", Finetuning, augmentation="off").augmentation is None
    with pytest.raises(VelocityError, match=r"finetune\.augmentation: must be a section of keys"):
        default_section("finetune", Finetuning, augmentation="on")


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
        (("finetune", "share"), 0.5, "share below 1, an average with base, needs base"),
        (("finetune",), {**document()["finetune"], "weight_bits": 2, "qat": False}, "weight_bits below 8 need qat"),
        (("finetune", "optimisation"), 7, "finetune.optimisation: must be a section of keys"),
        (("finetune", "optimisation", "accumulate"), 0, "finetune.optimisation.accumulate: .*greater than or equal"),
        (("corpora", "x"), {"kind": "folder"}, "corpora.x.source: missing key"),
        (("corpora", "x"), {"kind": "tape", "source": "y"}, "corpora.x: .*'tape'.*'folder'"),
        (
            ("corpora", "cv-17.0"),
            {"kind": "folder", "source": "y"},
            "corpora.cv-17.0: the name .* letters, digits, - and",
        ),
        (("corpora", "my corpus"), {"kind": "folder", "source": "y"}, "corpora.my corpus: the name of a corpus"),
        (("corpora", "a/b"), {"kind": "folder", "source": "y"}, "corpora.a/b: the name of a corpus"),
        (("corpora", "x"), {"kind": "folder", "source": "y", "test": 1.5}, "corpora.x.test: a share .* not 1.5"),
        (("corpora", "x"), {"kind": "folder", "source": "y", "test": -1}, "corpora.x.test: a share .* not -1"),
        (("corpora", "x"), {"kind": "folder", "source": "y", "validation": "("}, r"validation: '\(' is not a regular"),
        (("pretrain", "optimisation", "learning_rate"), 0, "pretrain.optimisation.learning_rate: .*greater than 0"),
        (("pretrain", "optimisation", "steps"), 0, "pretrain.optimisation.steps: .*greater than or equal to 1"),
        (("finetune", "optimisation", "warmup"), 1.5, "finetune.optimisation.warmup: .*less than or equal to 1"),
        (("finetune", "augmentation", "gain_db"), float("inf"), "finetune.augmentation.gain_db: .*finite number"),
        (("threads",), 0, "threads: .*greater than or equal to 1"),
        (("model", "dropout"), 1, "model.dropout: .*less than 1"),
        (("benchmark", "lengths"), [1, -5], "benchmark.lengths.1: .*greater than 0"),
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


def numbers(value: object, path: tuple = ()) -> list[tuple]:
    """The paths of all numbers in a document."""
    if isinstance(value, bool) or not isinstance(value, dict | list | int | float):
        return []
    if isinstance(value, int | float):
        return [path]
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return [found for key, item in pairs for found in numbers(item, (*path, key))]


MAY_BE_NEGATIVE = {
    ("validate", "min_level_db"),
    *((*("finetune", "augmentation", "noise_snr_db"), at) for at in (0, 1)),
}


@pytest.mark.parametrize("path", numbers(document()), ids=lambda path: ".".join(map(str, path)))
def test_every_number_has_bounds(path):
    """Not only the learning rate: none is negative where that has no meaning, and none is NaN."""
    for value in [float("nan"), *([] if path in MAY_BE_NEGATIVE else [-1])]:
        params = section = document()
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
        with pytest.raises(VelocityError, match=path[0]) as caught:
            parse_params(params, "params.yaml")
        assert "\n" not in str(caught.value)


def test_other_encodings(tmp_path):
    """DVC reads UTF-8 alone; Windows' editors write a byte-order mark before it, or UTF-16."""
    text = (ROOT / "params.yaml").read_text()
    params = tmp_path / "params.yaml"
    params.write_text(text, encoding="utf-8-sig")
    assert load_params(params) == load_params(ROOT / "params.yaml")
    params.write_text(text, encoding="utf-16")
    for read in (load_params, lambda path: apply_profile(str(ROOT / "profiles/reference.yaml"), path)):
        with pytest.raises(VelocityError, match=r"params\.yaml: not UTF-8 \(byte 0\); save it as UTF-8"):
            read(params)


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
    with pytest.raises(VelocityError, match=r"params\.yaml line \d+: contains a password") as caught:
        load_params(params)
    assert "hunter2" not in str(caught.value)
