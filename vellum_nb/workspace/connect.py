"""`connect`: opens a workspace on a server and a history."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vellum_nb.client import DEFAULT_TIMEOUT, Client, Timeout
from vellum_nb.client.settings import BASE_URL
from vellum_nb.errors import VellumNBError
from vellum_nb.history import DatabaseUrl, History, parse_location
from vellum_nb.workspace.workspace import Workspace

if TYPE_CHECKING:
    from vellum_nb.local import LocalServer


def connect(
    target: str | LocalServer | None = None,
    *,
    api_key: str | None = None,
    history: str | Path | History | None = None,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> Workspace:
    """Open a workspace: a client with a history.

    `HistoryError`: the history cannot be opened. `VellumNBError`: the API key is missing.

    Parameters
    ----------
    target : str or LocalServer, optional
        The server: ``"vellum"`` (the cloud), ``"local"`` (the embedded local server with the sample
        deployments), a URL, or a `LocalServer`. Default: ``VELLUM_API_URL`` or the cloud if
        ``VELLUM_API_KEY`` is set; otherwise the embedded local server, with a printed message.
    api_key : str, optional
        Default: ``VELLUM_API_KEY``. ``"ask"`` prompts without echo. The key is never stored.
    history : str, Path or History, optional
        A file for the runs, ``"postgresql://user@host/db"`` for a shared database, or
        ``":memory:"``. Default: ``runs.db`` in the user's data directory. A `History` that you pass
        stays open when the workspace closes.
    timeout : float or (connect, read), default (10, 120)
        Seconds, or None for no limit.
    """
    history = parse_location(history)  # first: a traceback shows these values
    server, address = _resolved(target)
    if target is None and not api_key and not os.environ.get("VELLUM_API_KEY"):
        server = embedded_server()
        names = ", ".join(server.names())
        print(f"No VELLUM_API_KEY: using the embedded local server with {names}.")  # noqa: T201
    if server is not None:
        from vellum_nb.local.magic import offer

        client = Client(api_key=server.api_key, base_url=server.url, timeout=timeout)
        source = "local server"
        offer(server)
    else:
        client = Client(api_key=api_key, base_url=address, timeout=timeout)
        host = urlsplit(client.base_url).hostname or client.base_url
        source = "Vellum" if host.endswith(".vellum.ai") else host
    try:
        opened = history if isinstance(history, History) else History(history)
    except BaseException:
        client.close()
        raise
    return Workspace(client, opened, source=source, server=server, keep_open=opened is history)


def _resolved(target: object) -> tuple[LocalServer | None, str | None]:
    """Return the local server or the URL of `target`; neither for the environment's."""
    if target == "local":
        return embedded_server(), None
    if target is None or (isinstance(target, str) and target.startswith(("http://", "https://"))):
        return None, target
    if target == "vellum":
        return None, BASE_URL
    if not isinstance(target, str):
        from vellum_nb.local import LocalServer

        if isinstance(target, LocalServer):
            return target.start(), None
    is_url = isinstance(parse_location(target), DatabaseUrl)  # it can contain a password
    name = "a URL that does not begin with http:// or https://" if is_url else repr(target)
    msg = f'Cannot connect to {name}; give "vellum", "local", a URL or a LocalServer'
    if is_url:
        msg += "; pass a database for the runs as history=..."
    raise VellumNBError(msg)


def embedded_server() -> LocalServer:
    """Return the local server of this process, restarted if it was stopped."""
    return _embedded().start()


@cache
def _embedded() -> LocalServer:
    from vellum_nb.local import LocalServer  # a tenth of a second, which a URL does not need

    return LocalServer(samples=True)
