"""Prompt requests and prompt events, as on the wire.

Source: https://docs.vellum.ai/developers/client-sdk/ad-hoc/adhoc-execute-prompt-stream
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from vellum_nb.models.base import Model

__all__ = ["ExecutePromptRequest", "ExpandPromptMeta", "PromptEvent", "PromptSettings"]

Json = Mapping[str, Any]


class PromptSettings(Model):
    """How to call the model."""

    timeout: float | None = None
    stream_enabled: bool | None = None


class ExpandPromptMeta(Model):
    """Which figures are asked for."""

    cost: bool | None = None
    model_name: bool | None = None
    usage: bool | None = None
    finish_reason: bool | None = None


class ExecutePromptRequest(Model):
    """Body of the ad-hoc prompt routes. A null field counts as absent."""

    ml_model: str
    blocks: tuple[Json, ...]
    input_values: tuple[Json, ...] = ()
    input_variables: tuple[Json, ...] = ()
    parameters: Json = Field(default_factory=dict)
    functions: tuple[Json, ...] = ()
    settings: PromptSettings = PromptSettings()
    expand_meta: ExpandPromptMeta = ExpandPromptMeta()
    execution_context: Json = Field(default_factory=dict)

    @property
    def node_span(self) -> str | None:
        """The span of the node that asks, as its execution context tells."""
        parent = self.execution_context.get("parent_context")
        span = parent.get("span_id") if isinstance(parent, Mapping) else None
        return span if isinstance(span, str) else None


class PromptEvent(Model):
    """What is told while a prompt runs.

    `state` is INITIATED, then STREAMING with `output` and `output_index` for each chunk, at the
    end FULFILLED with `outputs` or REJECTED with `error`.
    """

    state: Literal["INITIATED", "STREAMING", "FULFILLED", "REJECTED"]
    execution_id: str
    output: Json | None = None
    output_index: int | None = None
    outputs: tuple[Json, ...] | None = None
    error: Json | None = None
    meta: Json | None = None
