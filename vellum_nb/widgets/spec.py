"""Data of a form, and differences between the input variables of releases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from vellum_nb.errors import InputError, InputProblem, VellumNBError
from vellum_nb.models import VellumVariable, WorkflowDeploymentRelease
from vellum_nb.models.checks import available
from vellum_nb.models.inputs import type_name
from vellum_nb.widgets.markup import name_html

Variables = Sequence[VellumVariable]


@dataclass(frozen=True)
class Progressing:
    """Progress of a streaming run: partial text per output, current node, seconds to first text."""

    texts: Mapping[str, str] = field(default_factory=dict)
    node: str = ""
    nodes_done: int = 0
    first_s: float | None = None


@dataclass(frozen=True)
class TagChoice:
    """One release to run on, with all tags that point to it; requests use the first."""

    release_id: str
    names: tuple[str, ...]

    @property
    def tag(self) -> str:
        """The tag that requests use."""
        return self.names[0]


@dataclass(frozen=True)
class FormSpec:
    """Deployment data of a form.

    `source` is a short label of the server. `variables`, `outputs` and `latest_release_id` are
    those of LATEST; the id is None if LATEST could not be fetched. `tags` are sorted oldest first;
    `notes` are shown above the fields.
    """

    name: str
    label: str
    description: str
    source: str
    variables: tuple[VellumVariable, ...]
    latest_release_id: str | None
    tags: tuple[TagChoice, ...]
    notes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def latest(self) -> TagChoice | None:
        """The release of LATEST, or the newest one if LATEST is unknown."""
        for choice in self.tags:
            if "LATEST" in choice.names or choice.release_id == self.latest_release_id:
                return choice
        return self.tags[-1] if self.tags else None

    @property
    def baseline(self) -> TagChoice | None:
        """The release to compare LATEST with: that of `production`, or else the one before it."""
        others = [choice for choice in self.tags if choice is not self.latest]
        production = (choice for choice in others if "production" in choice.names)
        return next(production, others[-1] if others else None)

    def known(self, tag: str) -> str:
        """Return the tag that requests use for `tag`; raise `InputError` if it is unknown."""
        for choice in self.tags:
            if tag in choice.names:
                return choice.tag
        names = available(name for choice in self.tags for name in choice.names)
        msg = f"Unknown release tag of {self.name}:"
        raise InputError(msg, [InputProblem(tag, f"is unknown{names}")])


class Releases:
    """Input variables of each release; `read` fetches the release of a tag."""

    def __init__(self, spec: FormSpec, read: Callable[[str], WorkflowDeploymentRelease]) -> None:
        self._spec = spec
        self._read = read
        self._unread: dict[str, str] = {}
        self._known: dict[str, Variables] = {}
        if spec.latest is not None:
            self._known[spec.latest.tag] = spec.variables

    def knows(self, tags: Sequence[str]) -> bool:
        """Return whether all releases are cached."""
        return all(tag in self._known for tag in tags)

    def read(self, tags: Sequence[str]) -> None:
        """Fetch the releases that are not cached, including those that failed before."""
        for tag in tags:
            if tag in self._known:
                continue
            try:
                self._known[tag] = self._read(tag).workflow_version.input_variables
                self._unread.pop(tag, None)
            except VellumNBError as exc:
                self._unread[tag] = str(exc)

    def by_tag(self, tags: Sequence[str]) -> dict[str, Variables]:
        """Return the variables of each release, or those of LATEST if it failed to load."""
        self.read([tag for tag in tags if tag not in self._unread])
        return {tag: self._known.get(tag, self._spec.variables) for tag in tags}

    def unread(self, tags: Sequence[str]) -> list[str]:
        """Return a sentence for each release that could not be fetched."""
        return [
            f"{tag} could not be read, so its inputs are assumed to be those of LATEST: {why}"
            for tag, why in self._unread.items()
            if tag in tags
        ]


def union(releases: Sequence[Variables]) -> tuple[VellumVariable, ...]:
    """Merge the variables of `releases`, the last one first; required if any requires it."""
    by_key: dict[str, VellumVariable] = {}
    for variables in reversed(releases):
        for variable in variables:
            last = by_key.setdefault(variable.key, variable)
            if variable.is_required and last.default is None and not last.is_required:
                by_key[variable.key] = last.model_copy(update={"required": True})
    return tuple(by_key.values())


def expectations(
    name: str, by_tag: Mapping[str, Variables]
) -> tuple[tuple[str, VellumVariable], ...]:
    """Return the variable `name` of each release; without the tag if all releases agree."""
    expected = [(tag, v) for tag, variables in by_tag.items() for v in variables if v.key == name]
    wants = [(v.type, v.is_required, v.json_schema) for _, v in expected]
    if all(want == wants[0] for want in wants):
        return tuple(("", variable) for _, variable in expected[:1])
    return tuple(expected)


def not_sent(names: Sequence[str], variables: Variables) -> tuple[str, ...]:
    """Return the names that are not in `variables`."""
    keys = {variable.key for variable in variables}
    return tuple(name for name in names if name not in keys)


def not_sent_html(by_tag: Mapping[str, Variables]) -> str:
    """Return one sentence per release about the inputs it lacks; empty if all agree."""
    names = [variable.key for variable in union(list(by_tag.values()))]
    sentences = []
    for tag, variables in by_tag.items():
        if missing := not_sent(names, variables):
            are, they = ("it is", "input") if len(missing) == 1 else ("they are", "inputs")
            sentences.append(
                f"<b>{_codes(tag)}</b> lacks the {they} {_codes(*missing)}: "
                f"{are} not sent to {_codes(tag)}."
            )
    if not sentences:
        return ""
    kept = "The answers stay comparable; the difference is recorded with the run."
    return f'{" ".join(sentences)} <span class="vnb-quiet">{kept}</span>'


def differences_html(tag: str, variables: Variables, latest: Variables) -> str:
    """Describe how the inputs of `tag` differ from LATEST."""
    old = {variable.key: variable for variable in variables}
    new = {variable.key: variable for variable in latest}
    parts = []
    if added := [name for name in old if name not in new]:
        parts.append(f"it also has {_codes(*added)}")
    if missing := [name for name in new if name not in old]:
        parts.append(f"it lacks {_codes(*missing)}")
    for name, before in old.items():
        after = new.get(name, before)
        if type_name(before) != type_name(after):
            words = f"is {escape(type_name(before))} (LATEST: {escape(type_name(after))})"
        elif before.is_required != after.is_required:
            words = "is required" if before.is_required else "is optional"
        elif (before.json_schema or {}) != (after.json_schema or {}):
            words = "allows other values"
        else:
            continue
        parts.append(f"{_codes(name)} {words}")
    return f"<b>{_codes(tag)}</b> differs from LATEST: {'; '.join(parts)}." if parts else ""


def _codes(*names: str) -> str:
    return ", ".join(f"<code>{name_html(name)}</code>" for name in names)
