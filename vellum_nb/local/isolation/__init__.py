"""Runs of source in a process of their own: hard limits, and a crash that stays there."""

from __future__ import annotations

from vellum_nb.local.isolation.options import Process, process_for
from vellum_nb.local.isolation.process import ProcessCode

__all__ = ["Process", "ProcessCode", "process_for"]
