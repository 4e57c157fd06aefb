"""Prompts of prompt nodes, answered by a model behind an OpenAI-compatible address."""

from __future__ import annotations

from vellum_nb.local.prompts.models import Models, Provider
from vellum_nb.local.prompts.usage import UsageLog

__all__ = ["Models", "Provider", "UsageLog"]
