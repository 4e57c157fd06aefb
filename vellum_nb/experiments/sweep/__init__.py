"""Sweeps: many cases on many release tags, interruptible, never paid twice."""

from __future__ import annotations

from vellum_nb.experiments.sweep.plan import SweepPlan
from vellum_nb.experiments.sweep.progress import Progress, TagProgress
from vellum_nb.experiments.sweep.sweep import Sweep

__all__ = ["Progress", "Sweep", "SweepPlan", "TagProgress"]
