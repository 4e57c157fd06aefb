"""Sweeps: many runs at once. Knows no HTTP and no widgets."""

from __future__ import annotations
