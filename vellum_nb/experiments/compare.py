"""Release tags side by side over stored runs: one row a case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.cases import Case, Status, align
from vellum_nb.history.export import replacing, write_csv
from vellum_nb.history.frames import cell, frame_of_cells
from vellum_nb.models import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison"]

_MISSING = "missing"


class Comparison:
    """Stored runs of one deployment, case by case on several release tags.

    Of several runs of a case on a tag the newest that brought an answer (FULFILLED or REJECTED)
    counts. A case without an answer on a tag is *missing* there: counted and shown, never the
    same.

    Parameters
    ----------
    runs : sequence of Run
        In any order; runs of other deployments and tags are left out.
    deployment : str
        The deployment's name.
    release_tags : sequence of str
        The release tags, in the order of the columns.
    baseline : str, optional
        The tag the others are held against. Default: the first.
    render : callable, optional
        Makes the HTML of the comparison. Without it there is a plain table.

    Attributes
    ----------
    cases : tuple of Case
        In the order in which they were first run.

    Raises
    ------
    InputError
        There is no release tag, or the baseline is not among them.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> vnb.Comparison([], deployment="ticket-triage", release_tags=["v1", "v2"])
    <Comparison of ticket-triage: no stored runs on v1, v2>
    """

    def __init__(
        self,
        runs: Sequence[Run],
        *,
        deployment: str,
        release_tags: Sequence[str],
        baseline: str | None = None,
        render: Callable[[Comparison], str] | None = None,
    ) -> None:
        self.deployment = deployment
        self.release_tags = _tags(release_tags)
        self.baseline = _baseline(baseline, self.release_tags)
        self.cases = align(
            (run for run in runs if run.deployment == deployment),
            tags=self.release_tags,
            baseline=self.baseline,
        )
        self._render = render

    @property
    def others(self) -> tuple[str, ...]:
        """The release tags without the baseline."""
        return tuple(tag for tag in self.release_tags if tag != self.baseline)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of all outputs, in the order in which runs brought them."""
        return _names(run.outputs for case in self.cases for run in self._runs(case))

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of all inputs."""
        return _names(case.inputs for case in self.cases)

    @property
    def moved_tags(self) -> tuple[str, ...]:
        """The release tags that pointed at several releases while these runs were made."""
        return tuple(tag for tag in self.release_tags if self._has_moved(tag))

    def count(self, tag: str, status: Status) -> int:
        """Return in how many cases the answer on `tag` is "same", "differs" or "missing".

        Raises
        ------
        InputError
            There is no such tag in this comparison.
        """
        _baseline(tag, self.release_tags)
        return sum(case.status(tag) == status for case in self.cases)

    def frame(self) -> pd.DataFrame:
        """Return one row a case, in plain columns.

        ``case_id``, ``changed``, ``input.<name>``..., then for each output one column a release
        tag, ``output.<name>@<tag>``, and last ``state@<tag>``. Structured values are canonical
        JSON text, as in the history's frame. ``changed`` is True where an answer differs from the
        baseline's, False where all are the same, and missing where that cannot be told. ``state``
        says "missing" where a case has no run.
        """
        cells: dict[str, list[Any]] = {
            "case_id": [case.case_id for case in self.cases],
            "changed": [self._changed(case) for case in self.cases],
        }
        for name in self.input_names:
            cells[f"input.{name}"] = [cell(case.inputs.get(name)) for case in self.cases]
        for name in self.output_names:
            for tag in self.release_tags:
                cells[f"output.{name}@{tag}"] = [_output(case, tag, name) for case in self.cases]
        for tag in self.release_tags:
            cells[f"state@{tag}"] = [_state(case, tag) for case in self.cases]
        return frame_of_cells(cells)

    def to_csv(self, path: str | Path) -> Path:
        """Write `frame` as CSV; `vellum_nb.read_csv` reads it back to the same frame.

        Text that a spreadsheet would run as a formula is guarded by an apostrophe.

        Raises
        ------
        HistoryError
            The file cannot be written.
        """
        with replacing(path) as file:
            write_csv(self.frame(), file)
        return Path(path)

    def to_html(self) -> str:
        """Return the comparison as static HTML, the words that differ marked."""
        return self._render(self) if self._render else self._plain_html()

    def view(self) -> Comparison:
        """Show the comparison: as the last line of a cell it appears as HTML."""
        return self

    def _runs(self, case: Case) -> list[Run]:
        return [case.runs[tag] for tag in self.release_tags if tag in case.runs]

    def _has_moved(self, tag: str) -> bool:
        runs = [case.runs[tag] for case in self.cases if tag in case.runs]
        return len({run.release_id for run in runs}) > 1 or any(run.tag_moved for run in runs)

    def _changed(self, case: Case) -> bool | None:
        statuses = {case.status(tag) for tag in self.others}
        if "differs" in statuses:
            return True
        return None if _MISSING in statuses else False

    def _plain_html(self) -> str:
        if not self.cases:
            return f"<p>{escape(repr(self)[1:-1])}</p>"
        html: str = self.frame().to_html(escape=True, index=False, border=0, na_rep=_MISSING)
        return f"<p>{escape(repr(self)[1:-1])}</p>{html}"

    def __repr__(self) -> str:
        tags = ", ".join(self.release_tags)
        if not self.cases:
            return f"<Comparison of {self.deployment}: no stored runs on {tags}>"
        number = len(self.cases)
        counts = "; ".join(self._counts(tag) for tag in self.others) or "one release tag only"
        noun = "case" if number == 1 else "cases"
        return (
            f"<Comparison of {self.deployment} against {self.baseline}, {number} {noun}: {counts}>"
        )

    def _counts(self, tag: str) -> str:
        found = [
            f"{n} {kind}" for kind in ("differs", "same", "missing") if (n := self.count(tag, kind))
        ]
        return f"{tag} {', '.join(found)}"

    def _repr_html_(self) -> str:
        return self.to_html()


def _tags(release_tags: Sequence[str]) -> tuple[str, ...]:
    tags = (release_tags,) if isinstance(release_tags, str) else tuple(dict.fromkeys(release_tags))
    if not tags:
        msg = "a comparison needs release tags, such as release_tags=['v1', 'v2']; none was given"
        raise InputError(msg)
    return tags


def _baseline(tag: str | None, tags: Sequence[str]) -> str:
    if tag is None:
        return tags[0]
    if tag not in tags:
        msg = f"{tag!r} is not among the release tags compared: {', '.join(tags)}"
        raise InputError(msg)
    return tag


def _names(found: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in found for name in names))


def _output(case: Case, tag: str, name: str) -> Any:
    run = case.runs.get(tag)
    return cell(run.outputs.get(name)) if run else None


def _state(case: Case, tag: str) -> str:
    run = case.runs.get(tag)
    return run.state if run else _MISSING
