"""`Actions`: the operations of a workspace that comparisons, judges and widgets call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypedDict, Unpack

from vellum_nb.comparison.cases import Case
from vellum_nb.errors import InputError
from vellum_nb.history import History
from vellum_nb.lazy import pd
from vellum_nb.models import NodeRun, Run, WorkflowDeploymentRelease


class SweepRuns(Protocol):
    """The part of `vellum_nb.Sweep` that comparisons use, which cannot import `sweep`."""

    @property
    def id(self) -> str:
        """Id of the sweep."""

    def frame(self) -> pd.DataFrame:
        """Return its runs, one row per run."""

    def runs(self) -> list[Run]:
        """Return its runs."""

    def compare(self, *args: Any, **options: Any) -> Any:
        """Return the `Comparison` of its releases."""


class CallLimits(TypedDict, total=False):
    """Limits of the calls of a sweep or of judges, and whether to show progress (default)."""

    max_calls: int | None
    max_cost_usd: float | None
    progress: bool


class CaseOptions(CallLimits, total=False):
    """Options of `Actions.sweep`; `repeats` is 1 by default.

    With `judge`, which identifies a judge, stored runs of the same cases are reused, and concurrent
    processes execute each case once.
    """

    repeats: int
    judge: str | None


class Actions(Protocol):
    """Operations of a workspace, which comparisons cannot import.

    `vellum_nb.workspace.comparing.WorkspaceActions` implements them. A comparison of a DataFrame
    has none; `require` raises if an operation is missing.
    """

    history: History

    def leaks(self, text: str) -> bool:
        """Return whether `text` contains the API key."""

    def release(self, deployment: str, release_tag: str) -> WorkflowDeploymentRelease | None:
        """Return the release of a tag, or None if it cannot be read."""

    def code(self, deployment: str, release_tag: str, release_id: str) -> Mapping[str, str] | None:
        """Return path to source text, or None if unreadable or if the tag has moved."""

    def sweep(
        self,
        deployment: str,
        cases: Sequence[Mapping[str, Any]],
        *,
        release_tag: str,
        **options: Unpack[CaseOptions],
    ) -> SweepRuns:
        """Run `cases` and return the `Sweep`."""

    def run_case(self, deployment: str, case: Case, release_tag: str) -> Sequence[Run]:
        """Execute one case and return its run, or the run of each turn."""

    def rate(
        self,
        run: Run,
        quality: float | None,
        desired: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Store a rating and return the updated run; clear it if no rating is given."""

    def name_failure(self, run: Run, name: str, *, has: bool) -> Run:
        """Add a failure name to the tags of a run, or remove it; return the updated run."""

    def note(self, run: Run, text: str | None) -> Run:
        """Store a note on a run, or clear it; return the updated run."""

    def case_sets(self, deployment: str | None) -> list[str]:
        """Return the names of the case sets that can take cases of a deployment; None for all."""

    def add_cases(self, name: str, deployment: str | None, cases: Any) -> str:
        """Add cases or runs to a case set, and return a summary."""

    def look_up(self, run: Run) -> Run:
        """Look up a run in doubt and return the updated run."""

    def trace(self, run: Run) -> Sequence[NodeRun]:
        """Return the nodes of a run, fetched once and then stored."""


def require(actions: Actions | None, task: str) -> Actions:
    """Return `actions`, or raise an `InputError` if there is no workspace for `task`."""
    if actions is None:
        msg = f"this comparison has no workspace to {task}: make it with ws.compare(...)"
        raise InputError(msg)
    return actions
