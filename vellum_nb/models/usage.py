"""What models used and what it cost, as on the wire."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator

from vellum_nb.models.base import Reply
from vellum_nb.models.execution import WorkflowEventError

__all__ = [
    "MlModelUsage",
    "MlModelUsageWrapper",
    "Price",
    "PromptNodeExecutionMeta",
    "WorkflowExecutionUsageResult",
]


N = TypeVar("N", int, float)
_BEYOND = 10**15


def _sane(figure: N | None) -> N | None:
    """Return a figure that can be kept and added up; NaN and what no bill has is not told."""
    return figure if figure is not None and abs(figure) < _BEYOND else None


Count = Annotated[int | None, AfterValidator(_sane)]
Amount = Annotated[float | None, AfterValidator(_sane)]


class MlModelUsage(Reply):
    """What one model used; None where it is not told."""

    output_token_count: Count = None
    input_token_count: Count = None
    input_char_count: Count = None
    output_char_count: Count = None
    compute_nanos: Count = None
    cache_creation_input_tokens: Count = None
    cache_read_input_tokens: Count = None


class MlModelUsageWrapper(Reply):
    """What the model of a name used."""

    ml_model_name: str = ""
    ml_model_usage: MlModelUsage = MlModelUsage()


class Price(Reply):
    """An amount of money; `unit` is USD."""

    value: Amount = None
    unit: str = "USD"


class PromptNodeExecutionMeta(Reply):
    """What a prompt node used, as far as `ExpandMeta` asked for it."""

    usage: MlModelUsage | None = None
    cost: Price | None = None
    model_name: str | None = None


class WorkflowExecutionUsageResult(Reply):
    """What an execution, or one span of it, used; it may be calculated later, or not at all."""

    usage: tuple[MlModelUsageWrapper, ...] | None = None
    cost: tuple[Price, ...] | None = None
    error: WorkflowEventError | None = None
