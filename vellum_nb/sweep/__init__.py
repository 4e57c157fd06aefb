"""Sweeps: many cases on many release tags, interruptible, never paid twice."""

from __future__ import annotations

from vellum_nb.sweep.plan import SweepPlan
from vellum_nb.sweep.progress import Progress, TagProgress
from vellum_nb.sweep.sweep import Sweep

__all__ = ["Progress", "Sweep", "SweepPlan", "TagProgress"]
