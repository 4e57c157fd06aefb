"""Executors that users hand to a sweep: each attempt is made in another process, at most once.

A pool of processes hands an attempt to one process, once. A Dask cluster hands that of a worker
that died, or whose result was lost, to the next one: so there it first claims its name on the
scheduler, and the second one sends nothing.
"""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, wait
from contextlib import suppress
from typing import Any
from uuid import uuid4

from vellum_nb.models import Cancellation
from vellum_nb.sweep.driver import Attempt, WorkerPool
from vellum_nb.sweep.retry_policy import Outcome, PreparedRun, after_loss

_ASK_EVERY = 5.0  # seconds; Dask forgets calls that were submitted while its client was closed
_LOCK = threading.Lock()


def executor_pool(attempt: Attempt, executor: Executor, most: int) -> WorkerPool:
    """Return a pool for so many attempts at once by `executor`."""
    of_dask = getattr(sys.modules.get("distributed.cfexecutor"), "ClientExecutor", ())
    dask: Any = executor if isinstance(executor, of_dask) else None
    claims: list[str] = []

    def submit(prepared: PreparedRun, cancel: Cancellation) -> Callable[[], Outcome]:
        future: Future[Outcome]
        claim = f"vellum_nb_call-{prepared.run.id}-{uuid4().hex[:8]}"
        is_claimed = prepared.doubt is None  # a look-up may be made twice
        if dask is not None:
            claiming = (claim_and_call, claim) if is_claimed else ()
            task = sealed(*claiming, attempt, prepared)
            future = dask.submit(task, key=claim, pure=False, retries=0)
        else:
            future = executor.submit(attempt, prepared)
        cancel.add_callback(future.cancel)

        def result() -> Outcome:
            try:
                return _result(future, dask)
            finally:
                cancel.remove_callback(future.cancel)
                if is_claimed and not cancel.cancelled:  # else a worker may be about to begin it
                    claims.append(claim)

        return result

    def on_close() -> None:
        if claims and dask is not None:
            with suppress(Exception):  # it was shut down, or its client closed
                dask.submit(sealed(give_up, tuple(claims)), pure=False)

    return WorkerPool(submit, most, can_cut=False, on_close=on_close)


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
        import threading

        # Threads that import a package at the same moment may find a part of it.
        with vars(threading).setdefault("_vellum_nb_imports", threading.Lock()):
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
