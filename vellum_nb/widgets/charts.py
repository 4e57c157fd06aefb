"""`ChartView`: a chart of a comparison, drawn in the page by Vega, without any network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import altair as alt
import traitlets
import vl_convert

from vellum_nb.errors import InputError
from vellum_nb.experiments.charts import Ink, Picture
from vellum_nb.history.store.replacing import write_bytes
from vellum_nb.widgets.base import ThreadSafeWidget
from vellum_nb.widgets.markup import script

if TYPE_CHECKING:
    import pandas as pd

    from vellum_nb.experiments import Comparison

__all__ = ["ChartView"]

_THEME = Ink(
    text="var(--jp-ui-font-color1, #222)",
    line="var(--jp-border-color2, #c8c8c8)",
    page="transparent",
)
_SCALE = 2  # of a PNG: sharp on today's screens
_EDGE = 1e-9
_CSS = ".vnb-chart, .vnb-chart .chart-wrapper { display: block; width: 100%; }"


@cache
def _script() -> str:
    """Return Vega with our script: it comes from the kernel, never from another host."""
    version = ".".join(alt.SCHEMA_VERSION.split(".")[:2])
    bundle: str = vl_convert.javascript_bundle(script("chart.js"), vl_version=version)
    return bundle


class ChartView(ThreadSafeWidget):
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

    _esm = traitlets.Unicode("").tag(sync=True)
    _css = traitlets.Unicode(_CSS).tag(sync=True)

    _spec = traitlets.Dict().tag(sync=True)
    _brush = traitlets.Bool(default_value=False).tag(sync=True)

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
        super().__init__(
            _esm=_script(), _spec=picture.draw(_THEME).to_dict(), _brush=bool(picture.points)
        )
        self.on_msg(self._on_message)

    @property
    def selected(self) -> pd.DataFrame:
        """The rows of `Comparison.frame` that are chosen in the scatter."""
        frame = self.comparison.frame()
        return frame[frame["case_id"].isin(self.selected_ids)].reset_index(drop=True)

    def choose(self, x: Sequence[float], y: Sequence[float]) -> list[str]:
        """Choose the points of a scatter from ``x[0]`` to ``x[1]`` and ``y[0]`` to ``y[1]``."""
        (left, right), (low, high) = sorted(x), sorted(y)
        self._select(
            each
            for point in self.picture.points
            if left - _EDGE <= point.x <= right + _EDGE and low - _EDGE <= point.y <= high + _EDGE
            for each in point.case_ids
        )
        return self.selected_ids

    def save(self, path: str | Path) -> Path:
        """Write the chart as a picture on white: PNG, or SVG where the name ends so.

        Raises
        ------
        InputError
            The name ends in neither ``.png`` nor ``.svg``.
        HistoryError
            The file cannot be written.
        """
        target = Path(path)
        kind = target.suffix.lower()
        if kind == ".svg":
            svg: str = vl_convert.vegalite_to_svg(self._drawn())
            write_bytes(svg.encode(), target)
        elif kind == ".png":
            write_bytes(self._png(), target)
        else:
            msg = f"{str(path)!r} ends in neither .png nor .svg, the two that a chart is saved as"
            raise InputError(msg)
        return target

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        if not isinstance(content, dict) or content.get("kind") != "brush":
            return
        x, y = content.get("x"), content.get("y")
        if _is_span(x) and _is_span(y):
            self.choose(x, y)
        elif self.selected_ids:
            self._select(())

    def _select(self, ids: Iterable[str]) -> None:
        self.selected_ids = list(ids)
        if self.on_select is not None:
            self.on_select(list(self.selected_ids))

    def _drawn(self) -> dict[str, Any]:
        found: dict[str, Any] = self.picture.draw(Ink()).to_dict()
        return found

    def _png(self) -> bytes:
        return bytes(vl_convert.vegalite_to_png(self._drawn(), scale=_SCALE))

    def __repr__(self) -> str:
        return f"ChartView({self.picture.text})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is not None:
            bundle[0]["text/plain"] = repr(self)
            bundle[0]["image/png"] = self._png()
        return bundle


def _is_span(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))  # noqa: PLR2004


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
