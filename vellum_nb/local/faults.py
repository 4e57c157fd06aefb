"""Fault injection of a local server."""

from __future__ import annotations

import fnmatch
import random
import sys
import threading
from dataclasses import dataclass, fields

from vellum_nb.errors import VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.models.checks import refuse

_STATUSES = ("rate_429", "rate_500", "rate_502", "rate_503")
_RATES = (*_STATUSES, "reset_before", "reset_after", "truncated_body", "truncated_stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Faults to inject, for tests and teaching.

    Rates are shares of the requests that match `paths`; a request has at most one fault. The same
    seed and order of requests give the same faults.

    Parameters
    ----------
    latency_s : float
        Delay of every request, in seconds.
    rate_429, rate_500, rate_502, rate_503 : float
        Share, 0 to 1, that is answered with this status and not executed. 429 and 503 have a
        ``Retry-After`` header.
    retry_after_s : float
        Value of ``Retry-After``, in seconds.
    reset_before, reset_after : float
        Share of connections that are reset before the execution, or between execution and answer.
    truncated_body, truncated_stream : float
        Share of answers, or streams, that are cut off half-way.
    drip_s : float
        Seconds between pieces of 16 bytes of every answer.
    paths : str
        A pattern such as ``/v1/execute-workflow*``.
    seed : int
        Seed of the random generator.

    Examples
    --------
    >>> Faults(rate_429=0.5, paths="/v1/execute-*")
    Faults(rate_429=0.5, paths='/v1/execute-*')
    """

    latency_s: float = 0.0
    rate_429: float = 0.0
    rate_500: float = 0.0
    rate_502: float = 0.0
    rate_503: float = 0.0
    retry_after_s: float = 1.0
    reset_before: float = 0.0
    reset_after: float = 0.0
    truncated_body: float = 0.0
    truncated_stream: float = 0.0
    drip_s: float = 0.0
    paths: str = "*"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (*_RATES, "latency_s", "retry_after_s", "drip_s"):
            value, is_rate = getattr(self, name), name in _RATES
            if not 0 <= value <= (1 if is_rate else sys.float_info.max):
                expected = "a share between 0 and 1" if is_rate else "seconds from 0 on"
                msg = f"Faults: {name} is {value!r}; give {expected}"
                raise VellumNBError(msg)
        total = sum(getattr(self, name) for name in _RATES)
        if total > 1 + 1e-9:
            msg = f"Faults: the shares add up to {total:g}; a request meets one fault at most"
            raise VellumNBError(msg)

    @printed
    def __repr__(self) -> str:
        values = [(f.name, getattr(self, f.name), f.default) for f in fields(self)]
        texts = [f"{name}={value!r}" for name, value, default in values if value != default]
        return f"Faults({', '.join(texts)})"


class FaultBox:
    """Faults of a server and their random generator; thread-safe."""

    def __init__(self, faults: Faults | None = None) -> None:
        self._lock = threading.Lock()
        self.set(faults)

    def set(self, faults: Faults | None) -> None:
        """Replace the faults and reset the random generator."""
        if not isinstance(faults, Faults | None):
            refuse("faults", faults, "a vellum_nb.local.Faults or None")
        with self._lock:
            self.faults = faults
            self._dice = random.Random(faults.seed if faults else 0)  # noqa: S311 - no secret

    def draw(self, path: str) -> tuple[str, Faults] | None:
        """Draw the fault of a request (``""``: only delays); None if `path` does not match."""
        with self._lock:
            faults = self.faults
            if faults is None or not fnmatch.fnmatchcase(path, faults.paths):
                return None
            throw = self._dice.random()
        for name in _RATES:
            throw -= getattr(faults, name)
            if throw < 0:
                return name, faults
        return "", faults
