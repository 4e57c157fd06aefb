"""Values, differences and figures as text, HTML and Markdown. Knows no run store and no widget."""

from __future__ import annotations

__all__: list[str] = []
