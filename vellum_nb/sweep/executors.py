"""Executors that users hand to a sweep: calls are made elsewhere, each at most once.

A pool of processes hands a call to one process, once. A Dask cluster hands the call of a worker
that died, or seems to have died, to the next one, and computes a result anew that was lost with
its worker. There a call first claims its name on the scheduler, and whoever comes second sends
nothing. Claims are given up with their calls: so a call that the cluster has let go of by then,
while the worker still loaded it, sends nothing either.
"""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from vellum_nb.models.checks import refuse
from vellum_nb.sweep.driver import Attempt
from vellum_nb.sweep.retry_policy import Outcome, PreparedRun, Retry, after_loss

if TYPE_CHECKING:
    from distributed.cfexecutor import ClientExecutor


_OURS = "vellum_nb"
_NAME = "vellum_nb_call"  # what a cluster calls its tasks
_ADVICE = (
    "a worker of the executor cannot import vellum_nb: install the same vellum_nb there as here"
)
_CLAIM_S = 1.0  # seconds that a claim outlives its call: by then the scheduler has let go of that
_LOCK = threading.Lock()


def remote_executor(executor: Any) -> Executor:
    """Return what a sweep hands its calls to, so that `executor` makes them."""
    if not isinstance(executor, Executor):
        expected = "a concurrent.futures.Executor, such as client.get_executor() of a Dask client"
        refuse("executor", executor, expected)
    if "distributed" in sys.modules:
        from distributed.cfexecutor import ClientExecutor

        if isinstance(executor, ClientExecutor):
            return DaskExecutor(executor)
    return RemoteExecutor(executor)


class RemoteExecutor(Executor):
    """Hands calls to `executor`; one that cannot be loaded there comes back, and was not sent."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have `fn` called elsewhere with a task."""
        (prepared,) = args
        inner = self._handed(fn, prepared, **kwargs)
        outer = _Call(inner)
        inner.add_done_callback(lambda inner: _pass_on(inner, outer, prepared))
        return outer

    def _handed(self, fn: Attempt, prepared: PreparedRun, **kwargs: Any) -> Future[Any]:
        return self._executor.submit(fn, prepared, **kwargs)


class DaskExecutor(RemoteExecutor):
    """Hands calls to a Dask cluster, which is to begin each only once."""

    _executor: ClientExecutor

    def __init__(self, executor: ClientExecutor) -> None:
        super().__init__(executor)
        self._client: Any = executor._client  # noqa: SLF001  (it is told nowhere else)
        self._options = {**executor._kwargs, "pure": False, "retries": 0}  # noqa: SLF001

    def _handed(self, fn: Attempt, prepared: PreparedRun, **kwargs: Any) -> Future[Any]:
        key = f"{_NAME}-{prepared.run.id}-{uuid4().hex[:8]}"
        if self._executor._shutdown:  # noqa: SLF001
            msg = "the executor was shut down: hand over another client.get_executor()"
            raise RuntimeError(msg)
        call = self._client.submit(_sealed(fn, prepared), key=key, **self._options, **kwargs)
        self._executor._futures.add(call)  # noqa: SLF001  (its `shutdown` waits for them)
        future: Future[Any] = Future()
        self._client.loop.add_callback(_gather, call, future)
        future.add_done_callback(partial(_cancel_call, call))
        future.add_done_callback(lambda ended: self._later(key, has_result=_has_result(ended)))
        return future

    def _later(self, key: str, *, has_result: bool) -> None:
        loop = self._client.loop
        if loop is not None and self._client.status == "running":
            forget = partial(self._forget, key, has_result=has_result)
            loop.add_callback(loop.call_later, _CLAIM_S, forget)

    def _forget(self, key: str, *, has_result: bool) -> None:
        """Give a claim up, when the cluster holds no result that it could compute anew."""
        loop = self._client.loop
        if has_result and key in self._client.futures:
            self._later(key, has_result=has_result)
        elif loop is not None and self._client.status == "running":
            loop.add_callback(self._client.unpublish_dataset, key)


def _cancel_call(call: Any, ended: Future[Any]) -> None:
    if ended.cancelled() and not call.cancelled():
        call.cancel()


async def _gather(call: Any, future: Future[Any]) -> None:
    """Tell `future` how `call` ended.

    Dask's own executor does not, and leaves it waiting for ever, where a result is lost with its
    worker and the call then fails.
    """
    with suppress(InvalidStateError):  # it was cancelled
        try:
            result = await call.client.gather(call, asynchronous=True)
        except BaseException as exc:  # noqa: BLE001  (of the call)
            if call.cancelled():
                future.cancel()
            else:  # without its traceback, which would hold the call and the future
                future.set_exception(exc.with_traceback(None))
        else:
            future.set_result(result)


def _sealed(call: Attempt, prepared: PreparedRun) -> Callable[[], Outcome]:
    """Return a function that shows nothing, and loads everywhere.

    A scheduler loads it as well, and a worker that cannot load what it is sent dies of it: so that
    what needs this package is loaded by the call. What it encloses is in no `repr`.
    """
    sealed = pickle.dumps((Once(call), prepared))

    def vellum_nb_call() -> Outcome:
        import pickle

        call, prepared = pickle.loads(sealed)  # noqa: S301  (our own)
        return call(prepared)  # type: ignore[no-any-return]

    return vellum_nb_call


class Once:
    """A call on a worker of a Dask cluster, begun only once and while the cluster wants it."""

    __name__ = _NAME

    def __init__(self, call: Attempt) -> None:
        self._call = call

    def __call__(self, prepared: PreparedRun) -> Outcome:
        """Make the call, unless a worker has begun it before, or nobody waits for it."""
        from distributed import get_client, get_worker

        worker = get_worker()
        key = worker.get_current_task()
        with _LOCK:  # two threads would make two
            client = get_client()
        try:
            client.publish_dataset(None, name=key)
        except KeyError:
            return after_loss(prepared, "a worker was lost with it")
        processing = client.processing([worker.address])  # type: ignore[no-untyped-call]
        if key not in processing[worker.address]:
            client.unpublish_dataset(key)
            return after_loss(prepared, "it was given up before it was sent")
        return self._call(prepared)

    def __repr__(self) -> str:
        return repr(self._call)


class _Call(Future[Any]):
    """A call that is made elsewhere."""

    def __init__(self, inner: Future[Any]) -> None:
        super().__init__()
        self._inner: Future[Any] | None = inner

    def cancel(self) -> bool:
        """Cancel it there and here."""
        if self._inner is not None:
            self._inner.cancel()
        return super().cancel()

    def drop(self) -> None:
        """Keep the call made elsewhere no longer, so that nothing there is kept for it."""
        self._inner = None


def _pass_on(inner: Future[Any], outer: _Call, prepared: PreparedRun) -> None:
    outer.drop()
    if inner.cancelled():
        outer.cancel()
        return
    error = inner.exception()
    with suppress(InvalidStateError):  # it was cancelled
        if error is None:
            outer.set_result(inner.result())
        elif _misses_us(error):
            outer.set_result(Retry(prepared, _ADVICE, hopeless=True))
        else:
            outer.set_exception(error)


def _has_result(ended: Future[Any]) -> bool:
    return not ended.cancelled() and ended.exception() is None


def _misses_us(error: BaseException) -> bool:
    """Return whether a module of ours could not be loaded, so that no call was begun."""
    names = (each.name for each in _chain(error) if isinstance(each, ModuleNotFoundError))
    return any(name is not None and name.partition(".")[0] == _OURS for name in names)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
