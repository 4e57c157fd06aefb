"""Values, differences and figures as text, HTML and Markdown."""

from __future__ import annotations

__all__: list[str] = []
