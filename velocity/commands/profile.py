"""``velocity-asr profile``: apply a profile to ``params.yaml``, keeping its comments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from io import StringIO
from pathlib import Path
from typing import Any

from velocity.config import parse_params
from velocity.errors import VelocityError
from velocity.files import read_text, write_text
from velocity.project import PARAMS, PROFILES


def apply_profile(name: str, params: Path = PARAMS) -> list[str]:
    """Merge ``profiles/<name>.yaml``, or the file ``name``, into ``params``; return a line for each changed key.

    Sections are merged key by key; ``corpora`` is replaced whole. ``params`` changes only when the result is valid.
    Raises VelocityError when the profile is missing or the merged parameters are not valid.
    """
    from ruamel.yaml import YAML

    profile = _find(name)
    yaml = YAML()  # round trip: keeps comments and order
    yaml.width, yaml.preserve_quotes = 120, True
    yaml.representer.add_representer(type(None), _represent_null)
    document, overlay = _read(yaml, params), _read(yaml, profile)
    changes = list(merge(document, overlay))
    merged = StringIO()
    yaml.dump(document, merged)
    parse_params(YAML(typ="safe").load(merged.getvalue()), f"{params} with {profile}")
    if changes:
        write_text(params, merged.getvalue())
    return changes


def merge(base: MutableMapping[str, Any], overlay: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Merge ``overlay`` into ``base`` in place; yield ``key: old → new`` for each difference."""
    for key, value in overlay.items():
        where = (*path, str(key))
        old = base.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and where != ("corpora",):
            yield from merge(old, value, where)
        elif old != value:
            base[key] = value
            yield f"{'.'.join(where)}: {_short(old)} → {_short(value)}"


def _represent_null(representer: Any, _: None) -> Any:
    """``null``, as in params.yaml; ruamel's default is an empty value."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(map(str, value))
    return "(unset)" if value is None else str(list(value) if isinstance(value, list) else value)


def _find(name: str) -> Path:
    for path in (PROFILES / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    known = ", ".join(sorted(path.stem for path in PROFILES.glob("*.yaml"))) or "none"
    raise VelocityError(f"{name}: no such profile ({known}), and no such file")


def _read(yaml: Any, path: Path) -> Any:
    from ruamel.yaml.error import YAMLError

    try:
        document = yaml.load(read_text(path, "run this in the project's folder"))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise VelocityError(f"{path}{f' line {mark.line + 1}' if mark else ''}: not YAML") from error
    if not isinstance(document, Mapping):
        raise VelocityError(f"{path}: must have sections, like params.yaml")
    return document
