"""One attempt at a planned run: looked up where it may have run already, else sent once.

An attempt never waits: what needs time is handed back as `Again`, and no slot is held meanwhile.
It may be made in another process, to which it travels as a pickle.
"""

from __future__ import annotations

from typing import Any

from vellum_nb.client import ClientSettings
from vellum_nb.errors import APIError, VellumNBError
from vellum_nb.models import Cancellation, RunError, SlimWorkflowExecutionRead
from vellum_nb.sweep.driver import Again, Ended, Task
from vellum_nb.workspace.executions import told
from vellum_nb.workspace.fates import (
    ended_as,
    failed_as,
    fate_of,
    not_looked_up,
    not_uploaded,
    running,
    sent,
    unknown,
    untold,
)
from vellum_nb.workspace.finding import Finder, Gone, UntoldError
from vellum_nb.workspace.line import Line, line_of, new_line
from vellum_nb.workspace.sending import executed, streamed

__all__ = ["Caller"]


class Caller:
    """Sends the runs of a sweep to one deployment, and takes over what ran already.

    Only what certainly did not run is sent again without a question.

    Parameters
    ----------
    settings
        What the client of a process is made from; it tries once.
    deployment_id
        Where executions are looked up; None where the key may not read it.
    expand_meta
        Whether runs are streamed with their nodes, so that they tell tokens and cost.
    """

    __name__ = "vellum_nb_call"  # a cluster calls its tasks so

    def __init__(
        self, settings: ClientSettings, deployment_id: str | None, *, expand_meta: bool = False
    ) -> None:
        self._settings = settings
        self._deployment_id = deployment_id
        self._expand_meta = expand_meta
        self._own: Line | None = None

    def __call__(self, task: Task, cancel: Cancellation | None = None) -> Ended | Again:
        """Make one attempt at `task`."""
        line = self._own or line_of(self._settings)
        if task.doubt is not None:
            known = self._looked_up(task, line, cancel)
            if known is not None:
                return known
        if task.refused is not None:
            return failed_as(task, task.refused)
        return self._sent(task, line, cancel)

    def open(self) -> Caller:
        """Take connections of its own, which `close` ends; a pickle of it has none."""
        self._own = new_line(self._settings)
        return self

    def close(self) -> None:
        """Close its own connections."""
        if self._own is not None:
            self._own.client.close()

    def __repr__(self) -> str:
        return f"<{self.__name__} to {self._settings.base_url}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_own": None}

    def _sent(self, task: Task, line: Line, cancel: Cancellation | None) -> Ended | Again:
        send = streamed if self._expand_meta else executed
        try:
            inputs = line.uploads.sent(task.inputs, cancel)
        except APIError as exc:
            return not_uploaded(task, exc)
        try:
            how = send(line.client, task.run, inputs, cancel)
        except APIError as exc:
            return fate_of(task, exc)
        except VellumNBError as exc:
            return failed_as(task, RunError(code="BAD_REQUEST", message=str(exc)))
        return ended_as(sent(task), how)

    def _looked_up(
        self, task: Task, line: Line, cancel: Cancellation | None
    ) -> Ended | Again | None:
        """Return what became of `task`; None when it certainly never ran."""
        finder = Finder(line.client, self._deployment_id)
        try:
            found = finder.find(str(task.run.external_id), cancel)
        except UntoldError as exc:
            return untold(task, str(exc))
        except APIError as exc:
            return not_looked_up(task, exc)
        if isinstance(found, SlimWorkflowExecutionRead):
            return ended_as(task, told(found), found=True)
        return running(task) if found is Gone.RUNNING else unknown(task)
