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
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from vellum_nb.sweep.driver import Attempt, ExecutorPool, WorkerPool
from vellum_nb.sweep.retry_policy import Outcome, PreparedRun, after_loss

_NAME = "vellum_nb_call"  # what a cluster calls its tasks
_LOCK = threading.Lock()


def remote_pool(attempt: Attempt, executor: Executor) -> WorkerPool:
    """Return a pool whose attempts are made by `executor`."""
    if "distributed" in sys.modules:
        from distributed.cfexecutor import ClientExecutor

        if isinstance(executor, ClientExecutor):
            claims: list[str] = []
            submit = partial(_submit_to_dask, executor, attempt, claims)
            return ExecutorPool(submit, close=lambda: _give_up_claims(executor, claims))
    return ExecutorPool(partial(executor.submit, attempt))


def _submit_to_dask(
    executor: Any, attempt: Attempt, claims: list[str], prepared: PreparedRun
) -> Future[Outcome]:
    claims.append(f"{_NAME}-{prepared.run.id}-{uuid4().hex[:8]}")
    task = sealed(claim_and_call, claims[-1], attempt, prepared)
    future: Future[Outcome] = executor.submit(task, key=claims[-1], pure=False, retries=0)
    return future


def _give_up_claims(executor: Any, claims: list[str]) -> None:
    """Have a worker remove the claims from the scheduler; it is not waited for."""
    with suppress(RuntimeError):  # it was shut down
        executor.submit(sealed(give_up, tuple(claims)), pure=False)


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
