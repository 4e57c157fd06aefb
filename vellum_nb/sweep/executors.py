"""Executors that users hand to a sweep: each attempt is made in another process, at most once.

A pool of processes hands an attempt to one process, once; an attempt that waits in its queue when
the sweep is cut off, or its kernel dies, sends nothing. A Dask cluster hands the attempt of a
worker that died, or whose result was lost, to the next one: so there it first claims its name on
the scheduler, and the second one sends nothing.
"""

from __future__ import annotations

import multiprocessing
import pickle
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from vellum_nb.models import Cancellation
from vellum_nb.sweep.driver import Attempt, WorkerPool
from vellum_nb.sweep.retry_policy import Outcome, PreparedRun, after_loss, not_sent_in_time

_ASK_EVERY = 5.0  # seconds; Dask forgets calls that were submitted while its client was closed
_LOCK = threading.Lock()


def executor_pool(attempt: Attempt, executor: Executor, most: int) -> WorkerPool:
    """Return a pool for so many attempts at once by `executor`."""
    of_dask = getattr(sys.modules.get("distributed.cfexecutor"), "ClientExecutor", ())
    dask: Any = executor if isinstance(executor, of_dask) else None
    claims: list[str] = []
    cut = CutMark()

    def submit(prepared: PreparedRun, cancel: Cancellation) -> Callable[[], Outcome]:
        future: Future[Outcome]
        claim = f"vellum_nb_call-{prepared.run.id}-{uuid4().hex[:8]}"
        if dask is not None:
            task = sealed(claim_and_call, claim, attempt, prepared)
            future = dask.submit(task, key=claim, pure=False, retries=0)
        else:
            future = executor.submit(call_unless_cut, cut.path, attempt, prepared)
            cut.watch(future, cancel)
        cancel.add_callback(future.cancel)

        def result() -> Outcome:
            try:
                return _result(future, dask)
            finally:
                cancel.remove_callback(future.cancel)
                if not cancel.cancelled:  # else a worker may be about to begin it
                    claims.append(claim)

        return result

    def on_close() -> None:
        if claims and dask is not None:
            with suppress(Exception):  # it was shut down, or its client closed
                dask.submit(sealed(give_up, tuple(claims)), pure=False)

    return WorkerPool(submit, most, can_cut=False, on_close=on_close)


class CutMark:
    """A file that tells the processes of an executor that a sweep was cut off.

    A pool hands a process its next call before that has ended the last one, and cannot take it back
    then. The file exists from the cut until no call is left.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.gettempdir()) / f"vellum-nb-cut-{uuid4().hex}"
        self._open: set[Future[Outcome]] = set()
        self._lock = threading.Lock()

    def watch(self, future: Future[Outcome], cancel: Cancellation) -> None:
        """Have `cancel` mark the cut while `future` has not ended."""
        with self._lock:
            self._open.add(future)
        cancel.add_callback(self.mark)
        future.add_done_callback(self._ended)

    def mark(self) -> None:
        """Make the file; raises `OSError` if that is not possible."""
        with self._lock:
            if self._open:
                self.path.touch()

    def _ended(self, future: Future[Outcome]) -> None:
        with self._lock:
            self._open.discard(future)
            if not self._open:
                self.path.unlink(missing_ok=True)


def call_unless_cut(mark: Path, attempt: Attempt, prepared: PreparedRun) -> Outcome:
    """Make an attempt, unless its sweep was cut off or the process that asked for it has died."""
    parent = multiprocessing.parent_process()
    if mark.exists() or (parent is not None and not parent.is_alive()):
        return not_sent_in_time(prepared)
    return attempt(prepared)


def _result(future: Future[Outcome], dask: Any) -> Outcome:
    """Wait for an attempt; raise where the client of its Dask cluster was closed."""
    while not wait([future], _ASK_EVERY).done and not future.done():
        if dask is not None:
            dask.submit(bool, pure=False)  # raises where its client was closed
    return future.result()


def sealed(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Return a function that calls another one, and that loads and shows nothing before.

    A scheduler loads it as well, and a worker that cannot load what it is sent dies of it. What it
    encloses, an API key too, is in no `repr`.
    """
    content = pickle.dumps((function, args))

    def vellum_nb_call() -> Any:
        import pickle

        function, args = pickle.loads(content)  # noqa: S301  (our own)
        return function(*args)

    return vellum_nb_call


def claim_and_call(claim: str, attempt: Attempt, prepared: PreparedRun) -> Outcome:
    """Make an attempt on a worker of a Dask cluster, unless it was begun there before."""
    from distributed import get_client

    with _LOCK:  # else each thread makes a client
        client = get_client()
    try:
        client.publish_dataset(None, name=claim)
    except KeyError:
        return after_loss(prepared, "a worker was lost with it")
    return attempt(prepared)


def give_up(claims: Iterable[str]) -> None:
    """Remove claims from the scheduler."""
    from distributed import get_client

    client = get_client()
    for claim in claims:
        client.unpublish_dataset(claim)
