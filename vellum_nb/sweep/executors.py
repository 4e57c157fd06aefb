"""Executors that users pass to a sweep: each attempt runs in another process, at most once.

A process pool passes an attempt to one process, once. A Dask cluster repeats a task if a worker
dies or loses its result. Therefore the task first claims a name on the scheduler, and does not send
if the name is taken.
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

_DASK_CHECK_INTERVAL_S = 5.0  # a closed Dask client drops submitted tasks
_LOCK = threading.Lock()


def executor_pool(attempt: Attempt, executor: Executor, most: int) -> WorkerPool:
    """Return a pool of up to `most` attempts at once in `executor`."""
    of_dask = getattr(sys.modules.get("distributed.cfexecutor"), "ClientExecutor", ())
    dask: Any = executor if isinstance(executor, of_dask) else None
    claims: list[str] = []

    def submit(prepared: PreparedRun, cancel: Cancellation) -> Callable[[], Outcome]:
        future: Future[Outcome]
        claim = f"vellum_nb_call-{prepared.run.id}-{uuid4().hex[:8]}"
        is_claimed = prepared.doubt is None  # a look-up can be repeated
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
                if is_claimed and not cancel.cancelled:  # otherwise a worker can begin it later
                    claims.append(claim)

        return result

    def on_close() -> None:
        if claims and dask is not None:
            with suppress(Exception):  # cluster shut down, or client closed
                dask.submit(sealed(give_up, tuple(claims)), pure=False)

    return WorkerPool(submit, most, can_cut=False, on_close=on_close)


def _result(future: Future[Outcome], dask: Any) -> Outcome:
    """Wait for an attempt; raise if the Dask client was closed."""
    while not wait([future], _DASK_CHECK_INTERVAL_S).done and not future.done():
        if dask is not None:
            dask.submit(bool, pure=False)  # raises if the client was closed
    return future.result()


def sealed(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Return a function that calls another one, without references to this package.

    The scheduler unpickles it, too, and a worker dies if it cannot unpickle a task. Its arguments,
    with the API key, appear in no `repr`.
    """
    content = pickle.dumps((function, args))

    def vellum_nb_call() -> Any:
        import pickle
        import threading

        # Concurrent imports of a package can see a partly initialized module.
        with vars(threading).setdefault("_vellum_nb_imports", threading.Lock()):
            function, args = pickle.loads(content)  # noqa: S301  (our own)
        return function(*args)

    return vellum_nb_call


def claim_and_call(claim: str, attempt: Attempt, prepared: PreparedRun) -> Outcome:
    """Make an attempt on a Dask worker, unless another worker has begun it."""
    from distributed import get_client

    with _LOCK:  # one client for all threads
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
