"""Reads params.yaml, whole or one section, and names the key that is wrong."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from velocity.errors import VelocityError, without_credentials
from velocity.files import read_text
from velocity.project import PARAMS as PARAMS_FILE

T = TypeVar("T")
SHIPPED = Path(__file__).parents[1] / "params.yaml"  # the project's own file, for commands that run outside a project


def load_section(key: str, kind: type[T], path: str | Path = PARAMS_FILE) -> T:
    """The value of a dotted key as ``kind``, a section or a plain type: ``load_section("seed", int)``.

    Raises VelocityError for what ``read_params`` and ``parse`` refuse. Other keys of the file are not checked.
    """
    return parse(kind, _at(read_params(path), key, str(path)), str(path), key)


def default_section(key: str, kind: type[T], **changes: Any) -> T:
    """The section as the params.yaml that comes with the package has it, with ``changes`` to its keys."""
    return parse(kind, {**_at(read_params(SHIPPED), key, str(SHIPPED)), **changes}, str(SHIPPED), key)


def read_params(path: str | Path = PARAMS_FILE) -> dict[str, Any]:
    """The keys and values of the file (YAML 1.2, as DVC reads it), not yet checked.

    Raises VelocityError, on one line, for a missing file, another encoding, a syntax error or a password.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    text = read_text(path, "run this in the project's folder")
    try:
        document = YAML(typ="safe").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise VelocityError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if without_credentials(line) != line:
            reason = "contains a password, which git, dvc.lock and MLflow would keep; put it in the environment"
            raise VelocityError(f"{path} line {number}: {reason} (docs/servers.md)")
    return document


def parse(kind: type[T], value: Any, source: str, key: str = "") -> T:
    """Plain dictionaries → ``kind``. Raises VelocityError, on one line, naming the first wrong key in ``source``."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        parts = [*key.split("."), *first["loc"]] if key else list(first["loc"])
        if len(parts) > 2 and parts[0] == "corpora":
            del parts[2]  # pydantic's name of the corpus kind, not a key of the file
        reason = {
            "unexpected_keyword_argument": "unknown key",
            "missing": "missing key",
            "dataclass_type": "must be a section of keys",
        }.get(first["type"], first["msg"].removeprefix("Value error, "))
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise VelocityError(f"{source}: {'.'.join(map(str, parts))}: {reason}{more}") from error


def _at(document: Any, key: str, source: str) -> Any:
    try:
        return reduce(lambda section, part: section[part], key.split("."), document)
    except (KeyError, TypeError) as error:
        raise VelocityError(f"{source}: {key}: missing key") from error
