"""The input variables of the releases of a deployment, read once each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vellum_nb.errors import VellumNBError
from vellum_nb.models import VellumVariable, WorkflowDeploymentRelease
from vellum_nb.widgets.spec import FormSpec

__all__ = ["Releases"]

Variables = tuple[VellumVariable, ...]


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
        self._known: dict[str, Variables] = {}
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
