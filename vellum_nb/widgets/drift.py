"""How the input variables of releases differ, and what a form shows for several at once. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from vellum_nb.models import VellumVariable
from vellum_nb.models.inputs import field_kind
from vellum_nb.rendering.format import visible_name

__all__ = ["differences_html", "expectations", "not_sent", "not_sent_html", "union"]

_KEPT = "The answers stay comparable; the difference is kept with the run."

Variables = Sequence[VellumVariable]


def union(releases: Sequence[Variables]) -> tuple[VellumVariable, ...]:
    """Return every variable of `releases` once; the last release has the say on type and order.

    What one of them requires is required.

    Examples
    --------
    >>> v1 = [VellumVariable(key="ticket", type="STRING"), VellumVariable(key="old")]
    >>> v2 = [VellumVariable(key="ticket", type="STRING"), VellumVariable(key="vip")]
    >>> [variable.key for variable in union([v1, v2])]
    ['ticket', 'vip', 'old']
    """
    found: dict[str, VellumVariable] = {}
    for variables in reversed(releases):
        for variable in variables:
            shown = found.setdefault(variable.key, variable)
            if variable.is_required and shown.default is None and not shown.is_required:
                found[variable.key] = shown.model_copy(update={"required": True})
    return tuple(found.values())


def expectations(
    name: str, by_tag: Mapping[str, Variables]
) -> tuple[tuple[str, VellumVariable], ...]:
    """Return what each release wants of `name`; without the tag where they all want the same."""
    wanted = [(tag, v) for tag, variables in by_tag.items() for v in variables if v.key == name]
    if all(_same(wanted[0][1], variable) for _, variable in wanted[1:]):
        return tuple(("", variable) for _, variable in wanted[:1])
    return tuple(wanted)


def not_sent(values: Mapping[str, object], variables: Variables) -> tuple[str, ...]:
    """Return the names of `values` that a release with `variables` does not know."""
    known = {variable.key for variable in variables}
    return tuple(name for name in values if name not in known)


def not_sent_html(by_tag: Mapping[str, Variables]) -> str:
    """Return a sentence a release on the inputs that it does not know; empty when all agree."""
    names = [variable.key for variable in union(list(by_tag.values()))]
    sentences = []
    for tag, variables in by_tag.items():
        missing = not_sent(dict.fromkeys(names), variables)
        if missing:
            are, they = ("it is", "input") if len(missing) == 1 else ("they are", "inputs")
            sentences.append(
                f"<b>{_code(tag)}</b> has no {they} {_listed(missing)}: "
                f"{are} not sent to {_code(tag)}."
            )
    if not sentences:
        return ""
    return f'{" ".join(sentences)} <span class="vnb-quiet">{_KEPT}</span>'


def differences_html(tag: str, variables: Variables, latest: Variables) -> str:
    """Return how the inputs of `tag` differ from LATEST: added, removed, changed type.

    Examples
    --------
    >>> old = [VellumVariable(key="n", type="STRING")]
    >>> differences_html("v1", old, [VellumVariable(key="n", type="NUMBER")])
    '<b><code>v1</code></b> differs from LATEST: <code>n</code> is STRING (LATEST: NUMBER).'
    """
    new = {variable.key: variable for variable in latest}
    own = {variable.key: variable for variable in variables}
    parts = []
    if more := [name for name in own if name not in new]:
        parts.append(f"it also has {_listed(more)}")
    if less := [name for name in new if name not in own]:
        parts.append(f"it has no {_listed(less)}")
    for name, variable in own.items():
        if name in new and (words := _change(variable, new[name])):
            parts.append(f"{_code(name)} {words}")
    if not parts:
        return ""
    return f"<b>{_code(tag)}</b> differs from LATEST: {'; '.join(parts)}."


def _change(own: VellumVariable, latest: VellumVariable) -> str:
    here, there = _type_of(own), _type_of(latest)
    if here != there:
        return f"is {here} (LATEST: {there})"
    if own.is_required != latest.is_required:
        return "is required" if own.is_required else "is optional"
    if (own.json_schema or {}) != (latest.json_schema or {}):
        return "allows other values"
    return ""


def _type_of(variable: VellumVariable) -> str:
    kind = field_kind(variable)
    return {"bool": "BOOLEAN", "enum": "ENUM"}.get(kind, escape(variable.type))


def _same(one: VellumVariable, other: VellumVariable) -> bool:
    return (
        one.type == other.type
        and one.is_required == other.is_required
        and one.json_schema == other.json_schema
    )


def _code(name: str) -> str:
    return f"<code>{escape(visible_name(name))}</code>"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(_code(name) for name in names)
