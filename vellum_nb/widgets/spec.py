"""What a form is made from, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.models import VellumVariable

__all__ = ["FormSpec", "Progressing", "TagChoice"]


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
