"""Rating two releases without knowing which is which: pairs, the session, its results."""

from __future__ import annotations

from vellum_nb.experiments.blind.results import BlindResult
from vellum_nb.experiments.blind.session import BlindSession

__all__ = ["BlindResult", "BlindSession"]
