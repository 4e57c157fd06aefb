"""`LocalServer`: the local API in a thread, and its deployments."""

from __future__ import annotations

import atexit
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vellum_nb.errors import VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.local.deployments.registry import Registry, Target, build, release_read
from vellum_nb.local.engine.executions import Limits
from vellum_nb.local.faults import FaultBox, Faults
from vellum_nb.local.isolation.process import DEFAULT_MEMORY_LIMIT, Isolation, IsolationKind
from vellum_nb.local.isolation.workflow_server import process_options, stop_servers
from vellum_nb.local.ledger import Ledger
from vellum_nb.local.prompts import Models, Provider
from vellum_nb.models import WorkflowDeploymentRelease
from vellum_nb.models.checks import check_integer, check_number, check_text, check_texts

if TYPE_CHECKING:
    from vellum_nb.local.serving import Serving

_PARTS = frozenset({"fastapi", "uvicorn", "starlette", "multipart", "python_multipart"})


class LocalServer:
    """Vellum's API on 127.0.0.1, for Python callables and Workflows SDK classes.

    Parameters
    ----------
    port : int, default 0
        0 selects a free port at each start.
    api_key : str, optional
        Default: random.
    data : str or Path, optional
        Folder for deployments, releases, tags and executions, so they survive a restart.
    timeout : float or None, default 60
        Seconds after which a run is rejected.
    samples : bool, default False
        Whether to deploy the samples.
    body_limit : int, default 32 MiB
        Limit of a request body.
    request_timeout : float, default 10
        Seconds to receive the head of a request. Its body must arrive, and its answer be read,
        within six times that; otherwise the connection is closed.
    concurrency, queue : int, default 64 and 256
        Limits of executions that run and that wait. Further requests get 429.
    grace : float, default 0.2
        Seconds that `stop` waits for running executions before it rejects them.
    faults : Faults, optional
        Faults to inject.
    memory_limit : int or None, default 2 GiB
        Default limit of bytes of address space for runs in a process or container. It is not
        available on Windows.

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
        request_timeout: float = 10.0,
        concurrency: int = 64,
        queue: int = 256,
        grace: float = 0.2,
        faults: Faults | None = None,
        memory_limit: int | None = DEFAULT_MEMORY_LIMIT,
    ) -> None:
        check_text("api_key", api_key, optional=True, error=VellumNBError)
        if api_key is not None and not re.fullmatch("[!-~]+", api_key):
            msg = "api_key is not ASCII letters, digits and signs; the default is a random one"
            raise VellumNBError(msg)
        check_number("timeout", timeout, above=0, optional=True, error=VellumNBError)
        check_number("request_timeout", request_timeout, above=0, error=VellumNBError)
        check_number("grace", grace, error=VellumNBError)
        for name, value in {"port": port, "body_limit": body_limit, "queue": queue}.items():
            check_integer(name, value, error=VellumNBError)
        check_integer("concurrency", concurrency, least=1, error=VellumNBError)
        check_integer("memory_limit", memory_limit, optional=True, error=VellumNBError)
        self._api_key = api_key or secrets.token_urlsafe(24)
        self._port = port
        self._limits = Limits(timeout, concurrency, queue, grace, body_limit, request_timeout)
        self._memory_limit = memory_limit
        folder = Path(data) if data is not None else None
        self._registry = Registry(folder)
        self._ledger = Ledger(folder)
        self._models = Models()
        self._faults = FaultBox(faults)
        self._lock = threading.RLock()
        self._serving: Serving | None = None
        if samples:
            from vellum_nb.local.samples import deploy_samples

            deploy_samples(self)

    @property
    def url(self) -> str:
        """The address for clients.

        Raises
        ------
        VellumNBError
            If the server is not running.
        """
        serving = self._serving
        if serving is None:
            msg = "The local server is not running; start() it, or use it in a with block"
            raise VellumNBError(msg)
        return f"http://127.0.0.1:{serving.port}"

    @property
    def api_key(self) -> str:
        """The API key for clients."""
        return self._api_key

    @property
    def faults(self) -> Faults | None:
        """The injected faults; they can be set while the server runs."""
        return self._faults.faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._faults.set(faults)

    def start(self) -> Self:
        """Serve in a thread of this process, unless the server is running."""
        with self._lock:
            if self._serving is None or not self._serving.is_answering:
                self.stop()  # clean up after an interrupt
                try:
                    self._serving = self._begin()
                    self._serving.start()
                except BaseException:
                    self.stop()
                    raise
                atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Reject running executions, close the connections and end the thread."""
        with self._lock:
            if self._serving is not None:
                self._serving.stop()
            stop_servers(self._registry.folders())
            if self._serving is not None:
                self._serving.executions.join(1.0)
                self._serving = None
                atexit.unregister(self.stop)
            self._ledger.close()

    def run_forever(self, ready: Callable[[], None] | None = None) -> None:
        """Serve until SIGINT (Ctrl-C) or SIGTERM, then stop.

        Parameters
        ----------
        ready : callable, optional
            Called once after the start.
        """
        is_main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
        try:
            with self:
                if ready is not None:
                    ready()
                while True:
                    time.sleep(0.2)
        except KeyboardInterrupt:
            pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def models(
        self,
        *,
        base_url: str,
        api_key: str | None = None,
        model: str | None = None,
        prices: Mapping[str, tuple[float, float]] | None = None,
        timeout: float = 120.0,
    ) -> None:
        """Set the OpenAI-compatible endpoint that answers prompt nodes.

        Parameters
        ----------
        base_url : str
            Address without ``/chat/completions``, such as ``http://127.0.0.1:11434/v1``.
        api_key : str, optional
            Key of the endpoint.
        model : str, optional
            Model for all prompts. Default: the model of the prompt node.
        prices : mapping, optional
            Model to US dollars per million input tokens and per million output tokens.
        timeout : float, default 120
            Seconds to wait for data.

        Examples
        --------
        >>> server = LocalServer()
        >>> server.models(base_url="http://127.0.0.1:11434/v1", model="llama3.2")
        """
        if find_spec("openai") is None:
            msg = 'Models are called with the openai client: pip install "vellum-nb[models]"'
            raise VellumNBError(msg)
        price_table = dict(prices or {})
        self._models.provider = Provider(
            base_url=base_url, api_key=api_key, model=model, prices=price_table, timeout=timeout
        )

    def deploy(
        self,
        target: Target,
        *,
        name: str | None = None,
        release_tags: Sequence[str] = (),
        description: str | None = None,
        label: str | None = None,
        release_id: str | None = None,
        entry: str | None = None,
        isolation: IsolationKind | Isolation = "kernel",
    ) -> WorkflowDeploymentRelease:
        """Create a release of `target` and move LATEST and `release_tags` to it.

        Parameters
        ----------
        target : callable, Workflows SDK class, Path or mapping
            The signature of a callable defines the input variables. A project folder (such as one
            from ``vellum workflows pull``), a ``.py`` file or a mapping from path to bytes is
            copied, so the release never changes and survives a restart of a server with `data`.
        name, label : str, optional
            Name and label of the deployment. Default: derived from the function, class or folder.
        release_tags : sequence of str
            Tags of the new release.
        description : str, optional
            Description of the release.
        release_id : str, optional
            UUID of the release, to have the same one in every process. Default: random.
        entry : str, optional
            Function or class in the source, as ``name`` or ``module:name``. Default: the only one
            in ``workflow.py``.
        isolation : {"kernel", "process", "container", "environment"} or Isolation
            A kind of isolation, or an `Isolation` with a memory limit, environment variables, an
            image or a Python executable.

        Raises
        ------
        VellumNBError
            If the name, a tag, the signature, the source or the isolation is invalid.

        Examples
        --------
        >>> files = {"workflow.py": b"def shout(text: str) -> str: return text.upper()"}
        >>> release = LocalServer().deploy(files, isolation=Isolation("process"))
        >>> release.workflow_version.input_variables[0].key
        'text'
        """
        names = {"name": name, "label": label, "description": description}
        for argument, value in {**names, "release_id": release_id, "entry": entry}.items():
            check_text(argument, value, optional=True, error=VellumNBError)
        tags = check_texts("release_tags", release_tags, error=VellumNBError)
        if not isinstance(isolation, Isolation):
            isolation = Isolation(isolation)
        if isolation.kind in {"process", "container"} and isolation.memory_limit is None:
            isolation = replace(isolation, memory_limit=self._memory_limit)
        process = process_options(isolation, target)
        release = build(target, self._registry.snapshots, process, entry=entry)
        deployment, release = self._registry.deploy(
            release, release_tags=tags, release_id=release_id, **names
        )
        return release_read(deployment, release)

    def move_tag(self, name: str, tag: str, release: str) -> WorkflowDeploymentRelease:
        """Move or create the tag `tag` of the deployment `name`.

        Parameters
        ----------
        name, tag : str
            The deployment and the tag.
        release : str
            Id of the release, or one of its tags.
        """
        for argument, value in {"name": name, "tag": tag, "release": release}.items():
            check_text(argument, value, error=VellumNBError)
        deployment = self._registry.move_tag(name, tag, release)
        return release_read(deployment, deployment.release(tag))

    def names(self) -> tuple[str, ...]:
        """Return the names of the deployments, oldest first."""
        return tuple(deployment.name for deployment in self._registry.all())

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @printed
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
        parts = self._registry, self._ledger, self._models, self._faults, self._limits
        return Serving(*parts, port=self._port, api_key=self._api_key)
