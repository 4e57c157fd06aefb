"""A Copy button under each answer, in the browser; what it copies is written here."""

from __future__ import annotations

from importlib import resources

import anywidget
import traitlets

from vellum_nb.experiments.wording import value_text
from vellum_nb.models import Run

__all__ = ["CopyButtons", "outputs_text"]


class CopyButtons(anywidget.AnyWidget):
    """Puts a button under each answer that stands beside it.

    The buttons work while the kernel is busy; a notebook without its kernel has none.

    Attributes
    ----------
    texts : list of str
        What each of them copies; nothing for an answer that has not come.
    """

    _esm = traitlets.Unicode(
        resources.files("vellum_nb.widgets").joinpath("static/copy.js").read_text("utf-8")
    ).tag(sync=True)
    texts = traitlets.List(traitlets.Unicode()).tag(sync=True)


def outputs_text(run: Run) -> str:
    r"""Return the outputs of `run` as plain text: one as it is, several with their names.

    A run without outputs is told by its error.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> run = Run(
    ...     id="1",
    ...     deployment="d",
    ...     release_tag="v1",
    ...     timestamp=datetime.now(UTC),
    ...     inputs={},
    ...     case_id="c",
    ...     outputs={"category": "billing", "reply": "Dear Ann,\nthank you."},
    ... )
    >>> print(outputs_text(run))
    category: billing
    reply:
    Dear Ann,
    thank you.
    """
    texts = {
        name: value_text(value, run.output_types.get(name, "JSON"))
        for name, value in run.outputs.items()
    }
    if len(texts) == 1:
        return next(iter(texts.values()))
    if not texts and run.error:
        return f"{run.error.code}: {run.error.message}"
    return "\n".join(
        f"{name}:\n{text}" if "\n" in text else f"{name}: {text}" for name, text in texts.items()
    )
