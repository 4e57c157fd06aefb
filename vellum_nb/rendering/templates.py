"""Jinja2 templates: every value is escaped unless a function of this room made it safe."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from vellum_nb.history import clean
from vellum_nb.rendering import format as formats

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render", "stylesheet"]


def render(name: str, **context: Any) -> str:
    """Return the template `name` of ``templates/`` filled with `context`.

    Everything that a template is given is escaped; half surrogate pairs are replaced.
    """
    return clean(_environment().get_template(name).render(context))


def stylesheet(name: str) -> str:
    """Return a style sheet of ``templates/``."""
    return resources.files("vellum_nb.rendering").joinpath("templates", name).read_text("utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("vellum_nb.rendering"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "duration": formats.duration,
        "figure": formats.figure,
        "money": formats.money,
        "p": formats.p_value,
        "percent": formats.percent,
        "visible": lambda name: formats.one_line(formats.visible_name(str(name))),
    }
    environment.globals["plural"] = formats.plural
    return environment
