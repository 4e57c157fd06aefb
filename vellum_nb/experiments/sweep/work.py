"""One planned run on its way: what is to be done, and what came of doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from vellum_nb.models import Cancellation, Run, RunError

__all__ = ["Again", "Attempt", "Ended", "Looks", "Recorder", "Task"]


class Looks(NamedTuple):
    """How often a run in doubt was looked up in vain.

    `unknown`: the server knew no such execution. `running`: it was under way. `silent`: no usable
    answer came, in a row.
    """

    unknown: int = 0
    running: int = 0
    silent: int = 0


_NEVER = Looks()


@dataclass(frozen=True, slots=True)
class Task:
    """A run that is recorded, and about to be sent.

    Attributes
    ----------
    run : Run
        STARTED; its id is its external id.
    inputs : tuple of dict
        As they are sent.
    doubt : str or None
        Why it may have run already: it is looked up before it is sent.
    tries : int
        How often it was sent.
    looks : Looks
        What look-ups have told since it is in doubt.
    sends : int
        How often it was sent and the server may have taken it.
    refused : RunError or None
        How it ends when no look-up finds it: the server refuses it as it is.
    resent : bool
        Whether it was sent once more, after look-ups found no execution of it.
    """

    run: Run
    inputs: tuple[Mapping[str, Any], ...]
    doubt: str | None = None
    tries: int = 0
    looks: Looks = _NEVER
    sends: int = 0
    refused: RunError | None = None
    resent: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """It ended: `run` is complete. `found`: it was looked up, not sent; `resent`: as in `Task`."""

    run: Run
    found: bool = False
    resent: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """It is to be tried again, under the same id.

    Attributes
    ----------
    task : Task
        As it goes on.
    why : str
        What happened, in a few words.
    wait : float or None
        Seconds to wait before that; where `busy`, everybody waits.
    busy : bool
        Whether the server has too much to do.
    hopeless : bool
        Whether no other run would fare better, as with a wrong key.
    answered : bool
        Whether the server works, though this run has not ended.
    """

    task: Task
    why: str
    wait: float | None = None
    busy: bool = False
    hopeless: bool = False
    answered: bool = False


class Attempt(Protocol):
    """Sends a task once, or looks it up; never raises for what a server does.

    It must be picklable where an executor of other processes is to call it.
    """

    def __call__(self, task: Task, cancel: Cancellation | None = None) -> Ended | Again:
        """Make one attempt."""


class Recorder(Protocol):
    """What the driver asks of a history."""

    def record(self, *, begun: Sequence[Run] = (), ended: Sequence[Run] = ()) -> None:
        """Complete and begin, in one transaction."""

    def withdraw(self, runs: Sequence[Run]) -> None:
        """Take back runs that were never sent."""
