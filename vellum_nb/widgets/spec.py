"""What a form is made from, and how the input variables of releases differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from vellum_nb.errors import InputError, InputProblem, VellumNBError
from vellum_nb.models import VellumVariable, WorkflowDeploymentRelease
from vellum_nb.models.inputs import field_kind
from vellum_nb.widgets.markup import name_html

Variables = Sequence[VellumVariable]


@dataclass(frozen=True)
class Progressing:
    """How a run that streams gets on: the texts so far by output name, the node that runs.

    `node` is empty where it is not known; `first_s` are the seconds until the first words came.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    node: str = ""
    nodes_done: int = 0
    first_s: float | None = None


@dataclass(frozen=True)
class TagChoice:
    """One release to run on: all tags that point at it; runs are sent with the first."""

    release_id: str
    names: tuple[str, ...]

    @property
    def tag(self) -> str:
        """The tag that runs are sent with."""
        return self.names[0]


@dataclass(frozen=True)
class FormSpec:
    """A deployment as its form shows it.

    `source` is where runs go, as a short label. `variables` and `outputs` are those of the release
    that LATEST points at, `latest_release_id`, None where it could not be read. `tags` are oldest
    first, `notes` lines to show above the fields.
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
        """The choice that LATEST is on; else the last, which is the newest."""
        for choice in self.tags:
            if "LATEST" in choice.names or choice.release_id == self.latest_release_id:
                return choice
        return self.tags[-1] if self.tags else None

    def known(self, tag: str) -> str:
        """Return the tag that runs are sent with for `tag`; raise `InputError` if it is unknown."""
        for choice in self.tags:
            if tag in choice.names:
                return choice.tag
        known = ", ".join(name for choice in self.tags for name in choice.names)
        msg = f"{self.name} has no release tag of this name:"
        raise InputError(msg, [InputProblem(tag, f"is unknown; available: {known}")])


class Releases:
    """The input variables of each release; `read` retrieves the release of a tag."""

    def __init__(self, spec: FormSpec, read: Callable[[str], WorkflowDeploymentRelease]) -> None:
        self._spec = spec
        self._read = read
        self._unread: dict[str, str] = {}
        self._known: dict[str, Variables] = {}
        if spec.latest is not None:
            self._known[spec.latest.tag] = spec.variables

    def knows(self, tags: Sequence[str]) -> bool:
        """Return whether `read` has nothing to do."""
        return all(tag in self._known for tag in tags)

    def read(self, tags: Sequence[str]) -> None:
        """Read the releases that are not known, also those that could not be read before."""
        for tag in tags:
            if tag in self._known:
                continue
            try:
                self._known[tag] = self._read(tag).workflow_version.input_variables
                self._unread.pop(tag, None)
            except VellumNBError as exc:
                self._unread[tag] = str(exc)

    def by_tag(self, tags: Sequence[str]) -> dict[str, Variables]:
        """Return the variables of each release; those of LATEST where one cannot be read."""
        self.read([tag for tag in tags if tag not in self._unread])
        return {tag: self._known.get(tag, self._spec.variables) for tag in tags}

    def unread(self, tags: Sequence[str]) -> list[str]:
        """Return a sentence for each release that could not be read."""
        return [
            f"{tag} could not be read, so its inputs are assumed to be those of LATEST: {why}"
            for tag, why in self._unread.items()
            if tag in tags
        ]


def union(releases: Sequence[Variables]) -> tuple[VellumVariable, ...]:
    """Return every variable of `releases` once; the last release decides type and order.

    What one of them requires is required.
    """
    found: dict[str, VellumVariable] = {}
    for variables in reversed(releases):
        for variable in variables:
            known = found.setdefault(variable.key, variable)
            if variable.is_required and known.default is None and not known.is_required:
                found[variable.key] = known.model_copy(update={"required": True})
    return tuple(found.values())


def expectations(
    name: str, by_tag: Mapping[str, Variables]
) -> tuple[tuple[str, VellumVariable], ...]:
    """Return what each release wants of `name`; without the tag where they all want the same."""
    expected = [(tag, v) for tag, variables in by_tag.items() for v in variables if v.key == name]
    wants = [(v.type, v.is_required, v.json_schema) for _, v in expected]
    if all(want == wants[0] for want in wants):
        return tuple(("", variable) for _, variable in expected[:1])
    return tuple(expected)


def not_sent(names: Sequence[str], variables: Variables) -> tuple[str, ...]:
    """Return those of `names` that a release with `variables` does not know."""
    known = {variable.key for variable in variables}
    return tuple(name for name in names if name not in known)


def not_sent_html(by_tag: Mapping[str, Variables]) -> str:
    """Return a sentence a release on the inputs that it does not know; empty when all agree."""
    names = [variable.key for variable in union(list(by_tag.values()))]
    sentences = []
    for tag, variables in by_tag.items():
        if missing := not_sent(names, variables):
            are, they = ("it is", "input") if len(missing) == 1 else ("they are", "inputs")
            sentences.append(
                f"<b>{_codes(tag)}</b> has no {they} {_codes(*missing)}: "
                f"{are} not sent to {_codes(tag)}."
            )
    if not sentences:
        return ""
    kept = "The answers stay comparable; the difference is recorded with the run."
    return f'{" ".join(sentences)} <span class="vnb-quiet">{kept}</span>'


def differences_html(tag: str, variables: Variables, latest: Variables) -> str:
    """Return how the inputs of `tag` differ from LATEST: added, removed, changed type."""
    new = {variable.key: variable for variable in latest}
    own = {variable.key: variable for variable in variables}
    parts = []
    if more := [name for name in own if name not in new]:
        parts.append(f"it also has {_codes(*more)}")
    if less := [name for name in new if name not in own]:
        parts.append(f"it has no {_codes(*less)}")
    for name, here in own.items():
        there = new.get(name, here)
        if type_name(here) != type_name(there):
            words = f"is {escape(type_name(here))} (LATEST: {escape(type_name(there))})"
        elif here.is_required != there.is_required:
            words = "is required" if here.is_required else "is optional"
        elif (here.json_schema or {}) != (there.json_schema or {}):
            words = "allows other values"
        else:
            continue
        parts.append(f"{_codes(name)} {words}")
    return f"<b>{_codes(tag)}</b> differs from LATEST: {'; '.join(parts)}." if parts else ""


def type_name(variable: VellumVariable) -> str:
    """Return the type of a variable as people call it."""
    return {"bool": "BOOLEAN", "enum": "ENUM"}.get(field_kind(variable), variable.type)


def _codes(*names: str) -> str:
    return ", ".join(f"<code>{name_html(name)}</code>" for name in names)
