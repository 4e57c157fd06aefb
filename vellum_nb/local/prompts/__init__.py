"""Prompts of prompt nodes, answered by a model behind an OpenAI-compatible address."""
