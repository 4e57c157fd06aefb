"""What Copy copies: the outputs of a run as plain text."""

from __future__ import annotations

from vellum_nb.history import clean
from vellum_nb.models import Run
from vellum_nb.rendering.values import value_text

__all__ = ["outputs_text"]


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
        return clean(next(iter(texts.values())))
    if not texts and run.error:
        return clean(f"{run.error.code}: {run.error.message}")
    lines = (
        f"{name}:\n{text}" if "\n" in text else f"{name}: {text}" for name, text in texts.items()
    )
    return clean("\n".join(lines))
