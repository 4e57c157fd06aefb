"""What a sweep makes its runs with: the releases of its tags, and a client of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vellum_nb.client import Client
from vellum_nb.history import History
from vellum_nb.models import Run, WorkflowDeploymentRelease
from vellum_nb.models.inputs import infer_type, wire_type
from vellum_nb.models.sweeps import SweepCase, SweepRecord
from vellum_nb.sweep.driver import Task
from vellum_nb.sweep.plan import Standing
from vellum_nb.sweep.tag_watch import TagWatch
from vellum_nb.workspace.calling import Caller

__all__ = ["SweepWorker"]


class SweepWorker:
    """Makes the runs of one sweep."""

    def __init__(
        self,
        client: Client,
        history: History,
        *,
        sweep: SweepRecord,
        cases: Sequence[SweepCase],
        releases: Mapping[str, WorkflowDeploymentRelease | None],
        look_up: Callable[[str], WorkflowDeploymentRelease | None],
        deployment_id: str | None,
        expand_meta: bool = False,
    ) -> None:
        self._client = client
        self._history = history
        self._sweep = sweep
        self._cases = cases
        self._tags = TagWatch(releases, look_up, self._mark)
        self._before = _moved_before(sweep, releases)
        self._types = {tag: _types(release) for tag, release in releases.items()}
        self._deployment_id = deployment_id
        self._expand_meta = expand_meta
        self._caller: Caller | None = None

    @property
    def moved(self) -> tuple[str, ...]:
        """The release tags that pointed at more than one release while it ran."""
        return tuple(dict.fromkeys((*self._before, *self._tags.moved)))

    def task(self, standing: Standing) -> Task:
        """Return the run of a place: a new one, or the one that was begun, with its doubt."""
        case = self._cases[standing.place.position]
        inputs = self._wire(case, standing.place.release_tag)
        if standing.state == "STARTED":
            run = self._history.get(standing.run_id)
            return Task(run, inputs, doubt="it was begun, and no answer was seen")
        run = self._history.signed(self._run(case, standing, inputs))
        return Task(run, inputs)

    def attempt(self, at_once: int) -> Caller:
        """Return what sends, for so many at once."""
        settings = self._client.settings(max_connections=at_once, max_tries=1)
        self._caller = Caller(settings, self._deployment_id, expand_meta=self._expand_meta).open()
        self._tags.start()
        return self._caller

    def close(self) -> None:
        """Close the connections, after a last look at the tags."""
        self._tags.stop()
        if self._caller is not None:
            self._caller.close()
            self._caller = None

    def _run(self, case: SweepCase, standing: Standing, inputs: Sequence[Mapping[str, Any]]) -> Run:
        tag = standing.place.release_tag
        release = self._tags.begins(tag, standing.run_id)
        sent = {item["name"] for item in inputs}
        return Run(
            id=standing.run_id,
            external_id=standing.run_id,
            deployment=self._sweep.deployment,
            release_tag=tag,
            release_id=release.id if release else None,
            environment=self._sweep.environment,
            timestamp=datetime.now(UTC),
            inputs=dict(case.inputs),
            not_sent=tuple(name for name in case.inputs if name not in sent),
            case_id=case.case_id,
            sweep_id=self._sweep.id,
            repeat=standing.place.repeat,
        )

    def _mark(self, tag: str, run_ids: Sequence[str]) -> None:
        self._history.sweeps.mark_moved(self._sweep.id, tag, run_ids)

    def _wire(self, case: SweepCase, tag: str) -> tuple[dict[str, Any], ...]:
        types = self._types[tag]
        return tuple(
            {"name": name, "type": types[name] if types else infer_type(value), "value": value}
            for name, value in case.inputs.items()
            if types is None or name in types
        )


def _moved_before(
    sweep: SweepRecord, releases: Mapping[str, WorkflowDeploymentRelease | None]
) -> list[str]:
    """Return the tags that pointed at another release when the sweep was planned."""
    at = {tag: release.id for tag, release in releases.items() if release is not None}
    return [tag for tag, then in sweep.releases.items() if then and at.get(tag, then) != then]


def _types(release: WorkflowDeploymentRelease | None) -> dict[str, str] | None:
    if release is None:
        return None
    return {v.key: wire_type(v) for v in release.workflow_version.input_variables}
