"""What every group of methods stands on: a client, a history, and who closes them."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Self

from vellum_nb.client import Client
from vellum_nb.history import History
from vellum_nb.workspace.executions import Synchroniser, nodes_of
from vellum_nb.workspace.lookup import Lookup
from vellum_nb.workspace.runner import Runner

if TYPE_CHECKING:
    from vellum_nb.local import LocalServer

__all__ = ["BaseWorkspace"]


class BaseWorkspace:
    """A workspace without methods; `vellum_nb.Workspace` documents the parameters."""

    def __init__(
        self,
        client: Client,
        history: History,
        *,
        source: str = "Vellum",
        server: LocalServer | None = None,
        keep_open: bool = False,
    ) -> None:
        self.client = client
        self.history = history
        self.source = source
        self.server = server
        self._keep_open = keep_open
        self._lookup = Lookup(client)
        self._runner = Runner(client, history, self._lookup)
        history.tracer = partial(nodes_of, client)
        history.syncer = Synchroniser(client, self._lookup)

    def close(self) -> None:
        """Close the client, and the history unless it was handed in open.

        The embedded server stays for other workspaces.
        """
        self.client.close()
        if not self._keep_open:
            self.history.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Workspace on {self.source}, {self.history!r}>"

    def _repr_html_(self) -> str:
        return f"<p><b>Workspace</b> on {escape(self.source)}, {escape(repr(self.history))}</p>"
