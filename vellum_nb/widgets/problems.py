"""What keeps a form from running: told beside each field and beside Run, and led to."""

from __future__ import annotations

from vellum_nb.widgets.fields import FieldSet
from vellum_nb.widgets.options import Options
from vellum_nb.widgets.run_bar import RunBar

__all__ = ["Problems"]


class Problems:
    """Tells what is wrong with the fields and the options of a form.

    Parameters
    ----------
    fields, options : FieldSet, Options
        Where it is wrong.

    Attributes
    ----------
    bar : RunBar
        Where it is told; to be set before anything is.
    """

    bar: RunBar

    def __init__(self, fields: FieldSet, options: Options) -> None:
        self._fields = fields
        self._options = options
        self._tried = False

    def show(self) -> None:
        """Tell what is wrong; what is only empty not before a try to run."""
        self._fields.show_problems()
        self._say()

    def insist(self) -> bool:
        """Tell everything, lead to the first; return whether something is wrong."""
        found = self._fields.show_problems(insist=True) | self._options.problems()
        self._tried = bool(found)
        self._say()
        if found:
            self.focus(next(iter(found)))
        else:
            self._fields.relent()
        return bool(found)

    def focus(self, name: str) -> None:
        """Move the focus to the field or option called `name`."""
        if name in self._fields.names:
            self._fields[name].focus()
        else:
            self._options.focus(name)

    def _say(self) -> None:
        found = self._fields.problems()
        empty = {name: self._fields[name].is_unfinished for name in found}
        more = self._options.problems()
        empty.update(dict.fromkeys(more, False))
        self.bar.mend(found | more, empty=empty, tried=self._tried)
