"""`ChartView`: a chart of a comparison, drawn in the page by Vega, without any network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import altair as alt
import vl_convert

from vellum_nb.errors import InputError
from vellum_nb.experiments.charts import Ink, Picture
from vellum_nb.history.export import replacing

if TYPE_CHECKING:
    import pandas as pd

    from vellum_nb.experiments import Comparison

__all__ = ["ChartView"]

_THEME = Ink(
    text="var(--jp-ui-font-color1, #222)",
    line="var(--jp-border-color2, #c8c8c8)",
    page="transparent",
    width="container",
)
_SCALE = 2  # of a PNG: sharp on today's screens
_EDGE = 1e-9


class ChartView(alt.JupyterChart):
    """A chart of a comparison; ``cmp.chart(...)`` makes it.

    Where no widget can live, as on GitHub, its picture stands in its place.

    Parameters
    ----------
    comparison : Comparison
        What is shown.
    picture : Picture
        What is drawn.
    on_select : callable, optional
        Called with the list of `case_id` whenever points of the scatter are chosen.

    Attributes
    ----------
    selected_ids : list of str
        The cases that are chosen in the scatter.
    """

    def __init__(
        self,
        comparison: Comparison,
        picture: Picture,
        *,
        on_select: Callable[[list[str]], object] | None = None,
    ) -> None:
        self.picture = picture
        self.comparison = comparison
        self.on_select = on_select
        self.selected_ids: list[str] = []
        self.enable_offline()  # the scripts come from the kernel, never from another host
        options = {"renderer": "svg", "actions": False}
        super().__init__(
            self.picture.draw(_THEME), debounce_wait=150, max_wait=False, embed_options=options
        )
        if picture.points:
            self.selections.observe(self._on_brush, "brush")

    @property
    def selected(self) -> pd.DataFrame:
        """The rows of `Comparison.frame` that are chosen in the scatter."""
        frame = self.comparison.frame()
        return frame[frame["case_id"].isin(self.selected_ids)].reset_index(drop=True)

    def save(self, path: str | Path) -> Path:
        """Write the chart as a picture: PNG, or SVG where the name ends so.

        Raises
        ------
        InputError
            The name ends in neither ``.png`` nor ``.svg``.
        HistoryError
            The file cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() == ".svg":
            with replacing(target) as file:
                file.write(self.svg())
        elif target.suffix.lower() == ".png":
            target.write_bytes(self.png())
        else:
            msg = f"{str(path)!r} ends in neither .png nor .svg, the two that a chart is saved as"
            raise InputError(msg)
        return target

    def png(self) -> bytes:
        """Return the chart as a PNG on white."""
        return bytes(vl_convert.vegalite_to_png(self._spec(), scale=_SCALE))

    def svg(self) -> str:
        """Return the chart as an SVG on white."""
        return str(vl_convert.vegalite_to_svg(self._spec()))

    def choose(self, x: Sequence[float], y: Sequence[float]) -> list[str]:
        """Choose the points of a scatter from ``x[0]`` to ``x[1]`` and ``y[0]`` to ``y[1]``."""
        (left, right), (low, high) = sorted(x), sorted(y)
        self.selected_ids = [
            each
            for point in self.picture.points
            if left - _EDGE <= point.x <= right + _EDGE and low - _EDGE <= point.y <= high + _EDGE
            for each in point.case_ids
        ]
        if self.on_select is not None:
            self.on_select(list(self.selected_ids))
        return self.selected_ids

    def _on_brush(self, change: Any) -> None:
        found = change["new"].value
        if found:
            self.choose(found["x"], found["y"])
        elif self.selected_ids:
            self.selected_ids = []
            if self.on_select is not None:
                self.on_select([])

    def _spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.picture.draw(Ink()).to_dict()
        return found

    def __repr__(self) -> str:
        return f"ChartView({self.picture.text})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is not None:
            bundle[0]["text/plain"] = repr(self)
            bundle[0]["image/png"] = self.png()
        return bundle
