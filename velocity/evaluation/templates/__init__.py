"""The Jinja2 templates of the reports; HTML is escaped, Markdown is not."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.evaluation.markdown import difference, rate

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """The text of ``templates/<template>.j2``."""
    return _environment().get_template(f"{template}.j2").render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name is None or not name.endswith(".md.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "rate": rate,
        "difference": difference,
        "count": "{:,}".format,
        "general": "{:g}".format,
        "megabytes": lambda size: f"{size / 1e6:.2f} MB",
    }
    return environment
