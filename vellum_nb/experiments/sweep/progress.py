"""How far a sweep is, as a snapshot that views read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from vellum_nb.models import Run

__all__ = ["BY_HAND", "Progress", "State", "TagProgress"]

_OF_A_LIMIT = re.compile(r"(max_\w+|stop_after_failures)=\S+ is reached")
BY_HAND = "stopped"
"""Why a sweep stands still that was stopped, or interrupted: nobody needs to be told."""

State = Literal["ready", "running", "paused", "stopping", "stopped", "done"]


@dataclass(frozen=True, slots=True)
class TagProgress:
    """How far a sweep is on one release tag; `median_s` in seconds, `cost_usd` where it is told."""

    release_tag: str
    planned: int
    done: int
    failed: int
    running: int
    median_s: float | None
    cost_usd: float | None

    @property
    def to_go(self) -> int:
        """How many runs have not begun."""
        return self.planned - self.done - self.failed - self.running


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a sweep.

    Attributes
    ----------
    tags : tuple of TagProgress
        In the order of the sweep.
    found : int
        Runs that the history had when it began, or that were looked up: not sent again.
    reused, adopted : int
        How many of these were runs of the history before this sweep, and how many were looked up.
    resent : int
        Runs sent once more, under the same external id: look-ups found no execution of them.
    lost : datetime or None
        When the process that drove it before was last heard of, where that ended without a word.
    began, seconds : datetime or None, float
        When this session began, and for how long it has run, pauses left out.
    rate : float
        Runs a second, over the last ten seconds that it ran.
    left_s : float or None
        Seconds until the end at this rate; None where it has ended, or no rate is known.
    at_once, limit, most : int
        Calls under way, how many may be, and how many may ever be.
    note : str or None
        The last thing worth telling, such as why `limit` was lowered.
    latest : tuple of Run
        The runs that ended last, the newest first.
    why : str or None
        Why it stands still.
    moved : tuple of str
        Release tags that pointed at more than one release while it ran.
    """

    state: State
    tags: tuple[TagProgress, ...]
    found: int = 0
    reused: int = 0
    adopted: int = 0
    resent: int = 0
    lost: datetime | None = None
    began: datetime | None = None
    seconds: float = 0.0
    rate: float = 0.0
    at_once: int = 0
    limit: int = 0
    most: int = 0
    note: str | None = None
    latest: tuple[Run, ...] = ()
    why: str | None = None
    max_cost_usd: float | None = None
    moved: tuple[str, ...] = ()

    @property
    def reason(self) -> str | None:
        """Why it stops or has stopped, where the user does not know that: a limit, or trouble."""
        if self.state not in {"stopping", "stopped"} or self.why == BY_HAND:
            return None
        return self.why

    @property
    def limit_reached(self) -> str | None:
        """The name of the limit that ended it; it goes on with another one."""
        found = _OF_A_LIMIT.match(self.reason or "")
        return found[1] if found else None

    @property
    def kept(self) -> int:
        """How many runs of this sweep had ended before this session began."""
        return self.found - self.reused - self.adopted

    @property
    def planned(self) -> int:
        """How many runs there are to be."""
        return sum(tag.planned for tag in self.tags)

    @property
    def done(self) -> int:
        """How many ended with outputs."""
        return sum(tag.done for tag in self.tags)

    @property
    def failed(self) -> int:
        """How many ended without."""
        return sum(tag.failed for tag in self.tags)

    @property
    def ended(self) -> int:
        """How many ended."""
        return self.done + self.failed

    @property
    def cost_usd(self) -> float | None:
        """What it has cost so far, where that is told."""
        told = [tag.cost_usd for tag in self.tags if tag.cost_usd is not None]
        return sum(told) if told else None

    @property
    def untold(self) -> str | None:
        """Why a limit of cost cannot hold: the runs do not tell what they cost."""
        if self.max_cost_usd is None or self.cost_usd is not None or not self.done:
            return None
        return "no run tells its cost, so max_cost_usd cannot stop it"

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this rate."""
        left = self.planned - self.ended
        return left / self.rate if self.rate > 0 and left else None
