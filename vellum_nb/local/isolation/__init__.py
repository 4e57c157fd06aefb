"""Runs of source in a process of their own: hard limits, and a crash that stays there."""

from __future__ import annotations

from vellum_nb.local.isolation.process import Process, ProcessCode, process_for

__all__ = ["Process", "ProcessCode", "process_for"]
