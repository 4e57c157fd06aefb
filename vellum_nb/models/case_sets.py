"""Records of case sets: named lists of cases whose versions never change."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from vellum_nb.models.base import Model
from vellum_nb.models.sweeps import SweepCase

Member: TypeAlias = tuple[SweepCase, ...]
"""A case of a set: one `SweepCase`, or the turns of a conversation, which share a `case_id`."""


class CaseSetVersion(Model):
    """A stored version of a case set. Its cases are those of `parent` with its own changes."""

    id: str
    name: str  # of the set
    number: int  # of the version, from 1, unique in a set
    parent: str | None = None  # id of the version before it
    merged: str | None = None  # id of the version of another history that was merged into it
    deployment: str | None = None
    author: str | None = None
    message: str = ""
    created: datetime
