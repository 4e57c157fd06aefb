"""Prompts of prompt nodes, answered by a model behind an OpenAI-compatible address."""

from __future__ import annotations

from vellum_nb.local.prompts.execution import ExecutePromptRequest, PromptEvent, prompt_events
from vellum_nb.local.prompts.models import Models, Provider

__all__ = ["ExecutePromptRequest", "Models", "PromptEvent", "Provider", "prompt_events"]
