"""Which blind rating a comparison goes on with, or how another one begins."""

from __future__ import annotations

import secrets
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from vellum_nb.errors import InputError
from vellum_nb.experiments.blind.pairs import pairs_of
from vellum_nb.experiments.blind.session import BlindSession
from vellum_nb.history.plans.blind import BlindRatings
from vellum_nb.models.blind import BlindPair, BlindRecord, blind_signature

if TYPE_CHECKING:
    from vellum_nb.experiments.comparison.base import BaseComparison

__all__ = ["newest", "opened"]

_MOST = 2**63


def newest(
    comparison: BaseComparison, pair: tuple[str, str], ratings: BlindRatings, *, question: str
) -> BlindSession | None:
    """Return the newest session of these releases, cases and question, if there is one."""
    _, signature = _plan(comparison, pair, question)
    record = ratings.newest(signature)
    return None if record is None else BlindSession(comparison, record, ratings)


def opened(
    comparison: BaseComparison,
    pair: tuple[str, str],
    ratings: BlindRatings,
    *,
    question: str,
    seed: int | None,
    fresh: bool,
) -> BlindSession:
    """Return the newest session of the same plan and seed; where there is none, another one."""
    pairs, signature = _plan(comparison, pair, question)
    record = None if fresh else ratings.newest(signature)
    if record is None or seed not in {None, record.seed}:
        record = BlindRecord(
            id=str(uuid.uuid4()),
            deployment=comparison.deployment,
            first=pair[0],
            second=pair[1],
            seed=secrets.randbits(32) if seed is None else _checked_seed(seed),
            question=question,
            signature=signature,
            created=datetime.now(UTC),
        )
        ratings.add(record, pairs)
    return BlindSession(comparison, record, ratings)


def _checked_seed(seed: object) -> int:
    """Return `seed`, which must be a whole number that the history can keep."""
    if isinstance(seed, int) and not isinstance(seed, bool) and abs(seed) < _MOST:
        return seed
    msg = f"seed={seed!r:.60} does not fit: give a whole number"
    raise InputError(msg)


def _plan(
    comparison: BaseComparison, pair: tuple[str, str], question: str
) -> tuple[list[BlindPair], str]:
    pairs = pairs_of(comparison, *pair)
    ids = [each.case_id for each in pairs]
    return pairs, blind_signature(comparison.deployment, *pair, question, ids)
