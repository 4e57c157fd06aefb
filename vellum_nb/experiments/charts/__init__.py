"""A comparison as charts: their figures, and how Altair draws them."""

from __future__ import annotations

from vellum_nb.experiments.charts.picture import Chart, Ink, Picture, Point, picture

__all__ = ["Chart", "Ink", "Picture", "Point", "picture"]
