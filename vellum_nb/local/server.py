"""`LocalServer`: the local API in a thread, started and stopped at will."""

from __future__ import annotations

import atexit
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deploying import Deploying
from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.deployments.store import Store
from vellum_nb.local.engine.engine import Engine
from vellum_nb.local.faults import FaultBox, Faults
from vellum_nb.local.ledger.ledger import Ledger
from vellum_nb.local.prompts import Models, Provider

if TYPE_CHECKING:
    from vellum_nb.local.serving import Serving

__all__ = ["LocalServer"]

_PARTS = frozenset({"fastapi", "uvicorn", "starlette", "multipart", "python_multipart"})


class LocalServer(Deploying):
    """Vellum's API on 127.0.0.1, executing Python callables and Workflows SDK classes.

    Parameters
    ----------
    port : int, default 0
        0 takes a free one at each start.
    api_key : str, optional
        Default: a new random one.
    data : str or Path, optional
        A folder that keeps deployments, releases, tags and executions over a restart.
    timeout : float or None, default 60
        Seconds after which a run is rejected; None is never.
    samples : bool, default False
        Whether the sample deployments are there from the start.
    body_limit : int, default 32 MiB
        The largest request body.
    concurrency, queue : int, default 64 and 256
        How many executions run at once, and how many more wait for their turn. What comes on top
        is refused with 429.
    grace : float, default 0.2
        Seconds that `stop` gives to executions that run, before it rejects them.
    faults : Faults, optional
        What goes wrong on purpose. Default: nothing.
    memory_limit : int, optional
        Bytes of address space of each run in a process of its own, where `deploy` says no other.

    Examples
    --------
    >>> def shout(text: str) -> str:
    ...     return text.upper()
    >>> with LocalServer() as server:
    ...     release = server.deploy(shout, release_tags=["v1"])
    ...     release.deployment.name
    'shout'
    """

    def __init__(
        self,
        *,
        port: int = 0,
        api_key: str | None = None,
        data: str | Path | None = None,
        timeout: float | None = 60.0,
        samples: bool = False,
        body_limit: int = 32 * 1024 * 1024,
        concurrency: int = 64,
        queue: int = 256,
        grace: float = 0.2,
        faults: Faults | None = None,
        memory_limit: int | None = None,
    ) -> None:
        if api_key is not None and not re.fullmatch("[!-~]+", api_key):
            msg = "api_key must be ASCII letters, digits and signs; leave it out for a random one"
            raise VellumNBError(msg)
        if timeout is not None and not timeout > 0:
            msg = f"A timeout of {timeout!r} cannot be kept; give seconds above 0, or None"
            raise VellumNBError(msg)
        if concurrency < 1 or queue < 0 or not grace >= 0:
            msg = (
                f"concurrency is 1 or more, queue and grace 0 or more; "
                f"given are {concurrency!r}, {queue!r} and {grace!r}"
            )
            raise VellumNBError(msg)
        self._port = port
        self._api_key = api_key or secrets.token_urlsafe(24)
        self._timeout = timeout
        self._body_limit = body_limit
        self._room = (concurrency, queue)
        self._grace = grace
        self._memory_limit = memory_limit
        folder = Path(data) if data is not None else None
        self._registry = Registry(Store(folder) if folder is not None else None)
        self._ledger = Ledger(folder)
        self._models = Models()
        self._faults = FaultBox(faults)
        self._lock = threading.RLock()
        self._serving: Serving | None = None
        if samples:
            self._deploy_samples()

    @property
    def url(self) -> str:
        """The address for clients.

        Raises
        ------
        VellumNBError
            When the server is not running.
        """
        serving = self._serving
        if serving is None:
            msg = "The local server is not running; start() it, or use it in a with block"
            raise VellumNBError(msg)
        return f"http://127.0.0.1:{serving.port}"

    @property
    def api_key(self) -> str:
        """The key that clients must send."""
        return self._api_key

    @property
    def faults(self) -> Faults | None:
        """What goes wrong on purpose; it can be set while the server runs."""
        return self._faults.faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._faults.faults = faults

    def start(self) -> Self:
        """Serve in a thread of this process; a running server goes on."""
        with self._lock:
            if self._serving is None or not self._serving.is_answering:
                self.stop()  # what an interrupt left
                try:
                    self._serving = self._begin()
                    self._serving.start()
                except BaseException:
                    self.stop()
                    raise
                atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Reject what runs, close every connection, end the thread. The deployments stay."""
        with self._lock:
            if self._serving is not None:
                self._serving.stop()
                self._serving = None
                atexit.unregister(self.stop)
            self._ledger.close()

    def run_forever(self, ready: Callable[[], None] | None = None) -> None:
        """Serve until SIGINT (Ctrl-C) or SIGTERM, then stop.

        Parameters
        ----------
        ready : callable, optional
            Called once when the server answers; whoever it tells may end the server at once.
        """
        ended: list[bool] = []  # not an Event: a signal may come while its lock is held
        with _signals(lambda: ended.append(True)), self:
            if ready is not None:
                ready()
            while not ended:
                time.sleep(0.2)

    def models(
        self,
        *,
        base_url: str,
        api_key: str | None = None,
        model: str | None = None,
        prices: Mapping[str, tuple[float, float]] | None = None,
        timeout: float = 120.0,
    ) -> None:
        """Have an OpenAI-compatible endpoint answer the prompts of prompt nodes.

        Parameters
        ----------
        base_url : str
            What stands before ``/chat/completions``, such as ``http://127.0.0.1:11434/v1``.
        api_key : str, optional
            The endpoint's key. It is never shown.
        model : str, optional
            Answers every prompt. Default: the model that the prompt node names.
        prices : mapping, optional
            Model to US dollars for a million tokens in and a million tokens out.
        timeout : float, default 120
            Seconds without a sign of life after which a call is given up.

        Examples
        --------
        >>> server = LocalServer()
        >>> server.models(base_url="http://127.0.0.1:11434/v1", model="llama3.2")
        """
        self._models.provider = Provider(
            base_url=base_url,
            api_key=api_key,
            model=model,
            prices=dict(prices or {}),
            timeout=timeout,
        )

    def names(self) -> tuple[str, ...]:
        """Return the names of the deployments, oldest first."""
        return tuple(deployment.name for deployment in self._registry.all())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = self.url if self._serving else "not running"
        return f"<LocalServer {where}: {', '.join(self.names()) or 'no deployments'}>"

    def _begin(self) -> Serving:
        try:
            from vellum_nb.local.serving import Serving
        except ModuleNotFoundError as exc:
            if (exc.name or "").partition(".")[0] not in _PARTS:
                raise
            msg = (
                'The local server needs more packages: pip install "vellum-nb[local]". '
                "To run against Vellum, set VELLUM_API_KEY."
            )
            raise VellumNBError(msg) from exc
        concurrency, queue = self._room
        return Serving(
            self._registry,
            self._ledger,
            port=self._port,
            api_key=self._api_key,
            engine=Engine(timeout=self._timeout, concurrency=concurrency, queue=queue),
            grace=self._grace,
            body_limit=self._body_limit,
            models=self._models,
            faults=self._faults,
        )

    def _deploy_samples(self) -> None:
        from vellum_nb.local import samples

        samples.deploy_samples(self)


@contextmanager
def _signals(handler: Callable[[], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call `handler`, as far as this thread may say so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_: int, __: FrameType | None) -> None:
        handler()

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)
