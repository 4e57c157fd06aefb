"""What is seldom needed, folded away: external id, metadata, previous execution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vellum_nb.models import VellumVariable
from vellum_nb.widgets.field import Field, UnreadableError
from vellum_nb.widgets.fold import Fold
from vellum_nb.widgets.json_field import JsonField
from vellum_nb.widgets.simple_fields import TextField

__all__ = ["Options", "RunOptions"]

_SHORT = {"x-multiline": False}


@dataclass(frozen=True)
class RunOptions:
    """What goes with a run beside its inputs."""

    external_id: str | None = None
    metadata: dict[str, Any] | None = None
    previous_execution_id: str | None = None

    def external_id_for(self, tag: str, *, count: int) -> str | None:
        """Return the external id of the run on `tag`: it must be unique, so several get a suffix.

        Examples
        --------
        >>> RunOptions(external_id="case-7").external_id_for("v2", count=2)
        'case-7-v2'
        """
        if self.external_id is None or count == 1:
            return self.external_id
        return f"{self.external_id}-{tag}"


class Options:
    """The folded part of a form.

    Parameters
    ----------
    changed : callable
        Called after every change.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._fields: dict[str, Field] = {
            "external_id": TextField(
                _variable("external id", "yours, unique; several releases get -tag"), changed
            ),
            "metadata": MetadataField(
                _variable("metadata", "a JSON object kept with the run", type_="JSON"), changed
            ),
            "previous_execution_id": TextField(
                _variable("previous execution", "the id of the execution to go on from"), changed
            ),
        }
        fields = [field.widget for field in self._fields.values()]
        hint = "external id, metadata, previous execution"
        self._fold = Fold("More options", hint, fields)
        self.widget = self._fold.widget

    @property
    def value(self) -> RunOptions:
        """What is typed; what cannot be read is None, and `problems` says so."""
        return RunOptions(**{name: field.value for name, field in self._fields.items()})

    def go_on_from(self, execution_id: str) -> None:
        """Set the previous execution, and unfold so that it is seen."""
        self._fields["previous_execution_id"].value = execution_id
        self._fold.open()

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by label, and show it; unfold so that it is seen."""
        found = {}
        for field in self._fields.values():
            problem = field.problem()
            field.show(problem)
            if problem:
                found[field.name] = problem
        return found

    def focus(self, label: str) -> bool:
        """Unfold and move the focus to the field called `label`; return whether there is one."""
        field = next((f for f in self._fields.values() if f.name == label), None)
        if field is None:
            return False
        self._fold.open()
        field.focus()
        return True


class MetadataField(JsonField):
    """JSON that must be an object."""

    def _parse(self) -> Any:
        value = super()._parse()
        if value is not None and not isinstance(value, dict):
            msg = 'Metadata is a JSON object, such as {"reviewer": "ann"}.'
            raise UnreadableError(msg)
        return value


def _variable(label: str, description: str, *, type_: str = "STRING") -> VellumVariable:
    return VellumVariable.model_validate(
        {
            "key": label,
            "type": type_,
            "required": False,
            "schema": _SHORT if type_ == "STRING" else None,
            "extensions": {"description": description},
        }
    )
