"""A comparison to take away: Markdown, HTML, JUnit XML, CSV, Parquet. Needs no kernel to read."""

from __future__ import annotations
