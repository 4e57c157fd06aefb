"""Sweeps: many cases on many release tags, interruptible, never paid for twice."""

from __future__ import annotations

from vellum_nb.sweep.case_formats import read_cases
from vellum_nb.sweep.case_sets import CaseSet
from vellum_nb.sweep.conversations import Conversation
from vellum_nb.sweep.options import Limits, StopWhen
from vellum_nb.sweep.plan import SweepPlan
from vellum_nb.sweep.sweep import Sweep

__all__ = ["CaseSet", "Conversation", "Limits", "StopWhen", "Sweep", "SweepPlan", "read_cases"]
