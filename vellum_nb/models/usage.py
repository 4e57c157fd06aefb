"""What models used and what it cost, as on the wire."""

from __future__ import annotations

from vellum_nb.models.base import Reply
from vellum_nb.models.execution import WorkflowEventError

__all__ = [
    "MlModelUsage",
    "MlModelUsageWrapper",
    "Price",
    "PromptNodeExecutionMeta",
    "WorkflowExecutionUsageResult",
]


class MlModelUsage(Reply):
    """What one model used; None where it is not told."""

    output_token_count: int | None = None
    input_token_count: int | None = None
    input_char_count: int | None = None
    output_char_count: int | None = None
    compute_nanos: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class MlModelUsageWrapper(Reply):
    """What the model of a name used."""

    ml_model_name: str = ""
    ml_model_usage: MlModelUsage = MlModelUsage()


class Price(Reply):
    """An amount of money; `unit` is USD."""

    value: float | None = None
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
