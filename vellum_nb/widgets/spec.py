"""What a form is made from, and how the input variables of releases differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from vellum_nb.errors import InputError, InputProblem, VellumNBError
from vellum_nb.models import VellumVariable, WorkflowDeploymentRelease
from vellum_nb.models.inputs import field_kind
from vellum_nb.rendering.format import visible_name

__all__ = [
    "FormSpec",
    "Progressing",
    "Releases",
    "TagChoice",
    "differences_html",
    "expectations",
    "not_sent",
    "not_sent_html",
    "union",
]


@dataclass(frozen=True)
class Progressing:
    """How a run that streams gets on.

    Attributes
    ----------
    texts : mapping of str to str
        Output name to its text so far.
    node : str
        The node that runs; empty where it is not known.
    nodes_done : int
        How many nodes have ended.
    first_s : float or None
        Seconds until the first words came; None before.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    node: str = ""
    nodes_done: int = 0
    first_s: float | None = None


@dataclass(frozen=True)
class TagChoice:
    """One release to run on: all tags that point at it, the user's own first."""

    release_id: str
    names: tuple[str, ...]

    @property
    def tag(self) -> str:
        """The tag that runs are sent with.

        Examples
        --------
        >>> TagChoice("r2", ("v2", "production", "LATEST")).tag
        'v2'
        """
        return self.names[0]


@dataclass(frozen=True)
class FormSpec:
    """A deployment as its form shows it.

    Attributes
    ----------
    source : str
        Where runs go, in a word or two: "local server", "Vellum", or a host.
    variables : tuple of VellumVariable
        The input variables of the release that LATEST points at.
    latest_release_id : str or None
        That release; None where it could not be read.
    tags : tuple of TagChoice
        One choice a release.
    notes : tuple of str
        Lines to show above the fields.
    outputs : tuple of str
        The names of the outputs of that release, as far as they are known.
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

    def choice(self, tag: str) -> TagChoice | None:
        """Return the choice that bears `tag`."""
        return next((choice for choice in self.tags if tag in choice.names), None)

    def known(self, tag: str) -> str:
        """Return the tag that runs are sent with for `tag`.

        Raises
        ------
        InputError
            There is no such tag; the message lists those there are.
        """
        choice = self.choice(tag)
        if choice is None:
            known = ", ".join(name for choice in self.tags for name in choice.names)
            msg = f"{self.name} has no such release tag:"
            raise InputError(msg, [InputProblem(tag, f"is unknown; there are: {known}")])
        return choice.tag


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
            known = found.setdefault(variable.key, variable)
            if variable.is_required and known.default is None and not known.is_required:
                found[variable.key] = known.model_copy(update={"required": True})
    return tuple(found.values())


def expectations(
    name: str, by_tag: Mapping[str, Variables]
) -> tuple[tuple[str, VellumVariable], ...]:
    """Return what each release wants of `name`; without the tag where they all want the same."""
    expected = [(tag, v) for tag, variables in by_tag.items() for v in variables if v.key == name]
    if all(_same(expected[0][1], variable) for _, variable in expected[1:]):
        return tuple(("", variable) for _, variable in expected[:1])
    return tuple(expected)


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


class Releases:
    """Knows what each release asks for.

    Parameters
    ----------
    spec : FormSpec
        Brings the variables of LATEST.
    read : callable
        Retrieves the release that a tag points at; may raise `VellumNBError`.
    """

    def __init__(self, spec: FormSpec, read: Callable[[str], WorkflowDeploymentRelease]) -> None:
        self._spec = spec
        self._read = read
        self._known: dict[str, tuple[VellumVariable, ...]] = {}
        self._unread: dict[str, str] = {}
        if spec.latest is not None:
            self._known[spec.latest.tag] = spec.variables

    def knows(self, tags: Sequence[str]) -> bool:
        """Return whether `by_tag` needs to read nothing."""
        return all(tag in self._known for tag in tags)

    def read(self, tags: Sequence[str]) -> None:
        """Read the releases that are not known, also those that could not be read before."""
        for tag in tags:
            if tag not in self._known:
                self._try(tag)

    def by_tag(self, tags: Sequence[str]) -> dict[str, Sequence[VellumVariable]]:
        """Return the variables of each release; those of LATEST where one cannot be read."""
        for tag in tags:
            if tag not in self._known and tag not in self._unread:
                self._try(tag)
        return {tag: self._known.get(tag, self._spec.variables) for tag in tags}

    def unread(self, tags: Sequence[str]) -> list[str]:
        """Return a sentence for each release that could not be read."""
        return [
            f"{tag} could not be read, so its inputs are taken to be those of LATEST: {why}"
            for tag, why in self._unread.items()
            if tag in tags
        ]

    def _try(self, tag: str) -> None:
        try:
            release = self._read(tag)
        except VellumNBError as exc:
            self._unread[tag] = str(exc)
            return
        self._unread.pop(tag, None)
        self._known[tag] = release.workflow_version.input_variables
