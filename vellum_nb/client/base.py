"""What every group of methods stands on: addresses, key, one sender, closing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from vellum_nb.client.exchange import request_for
from vellum_nb.client.retry import TRIES
from vellum_nb.client.sender import Sender
from vellum_nb.client.settings import (
    DEFAULT_TIMEOUT,
    ClientSettings,
    Timeout,
    checked_timeout,
    find_key,
    find_urls,
)
from vellum_nb.client.streaming import EventStream
from vellum_nb.errors import InputError
from vellum_nb.models import Cancellation, WorkflowEvent, WorkflowStreamEvent
from vellum_nb.models.secret import stands_in

__all__ = ["BaseClient"]

E = TypeVar("E", WorkflowStreamEvent, WorkflowEvent)
M = TypeVar("M", bound=BaseModel)


class BaseClient:
    """A client without methods; `vellum_nb.Client` documents the parameters."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        predict_url: str | None = None,
        timeout: Timeout = DEFAULT_TIMEOUT,
        api_version: str = "2025-07-30",
        max_connections: int = 64,
        max_tries: int = TRIES,
    ) -> None:
        self._base_url, self._predict_url = find_urls(base_url, predict_url)
        self._key = find_key(api_key)
        self._timeout = checked_timeout(timeout)
        self._api_version = api_version
        self._sender = Sender(
            self._key,
            version=api_version,
            agent=f"vellum_nb/{_version()}",
            timeout=self._timeout,
            connections=max_connections,
            tries=max_tries,
        )

    def settings(self, *, max_connections: int, max_tries: int) -> ClientSettings:
        """Return what another client for the same server with the same key is made from."""
        return ClientSettings(
            self._base_url,
            self._predict_url,
            self._key,
            self._timeout,
            self._api_version,
            max_connections,
            max_tries,
        )

    @classmethod
    def of(cls, settings: ClientSettings) -> Self:
        """Return a client with connections of its own."""
        return cls(
            api_key=settings.key.get_secret_value(),
            base_url=settings.base_url,
            predict_url=settings.predict_url,
            timeout=settings.timeout,
            api_version=settings.api_version,
            max_connections=settings.max_connections,
            max_tries=settings.max_tries,
        )

    def leaks(self, text: str) -> bool:
        """Return whether the API key stands in `text`, as it is or escaped; for exports."""
        return stands_in(self._key.get_secret_value(), text)

    @property
    def base_url(self) -> str:
        """The address of the API, without a slash at the end."""
        return self._base_url

    @property
    def predict_url(self) -> str:
        """The address that executions go to, without a slash at the end."""
        return self._predict_url

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._base_url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Calls after this are refused."""
        self._sender.close()

    def _get(
        self,
        reply: type[M],
        *path: str,
        query: Mapping[str, object] | None = None,
        predict: bool = False,
        cancel: Cancellation | None = None,
    ) -> M:
        url = self._url(*path, predict=predict)
        return self._sender.send(request_for("GET", url, query=query), reply, cancel)

    def _post(
        self,
        reply: type[M],
        *path: str,
        body: Mapping[str, Any],
        cancel: Cancellation | None = None,
    ) -> M:
        url = self._url(*path, predict=True)
        return self._sender.send(request_for("POST", url, body=body), reply, cancel)

    def _change(self, method: str, reply: type[M], *path: str, body: Mapping[str, Any]) -> M:
        return self._sender.send(request_for(method, self._url(*path), body=body), reply)

    def _stream(
        self, kind: type[E], *path: str, body: Mapping[str, Any], cancel: Cancellation | None
    ) -> EventStream[E]:
        request = request_for("POST", self._url(*path, predict=True), body=body)
        live = self._sender.open(request._replace(accept="*/*"), cancel)
        tells_end = "WORKFLOW" in body.get("event_types", ("WORKFLOW",))
        return EventStream(live, kind, tells_end=tells_end)

    def _url(self, *path: str, predict: bool = False) -> str:
        base = self._predict_url if predict else self._base_url
        return "/".join([base, "v1", *map(_segment, path)])


def _segment(name: str) -> str:
    if name in {"", ".", ".."}:
        msg = f"{name!r} cannot name a deployment, release, release tag or execution."
        raise InputError(msg)
    try:
        return quote(name, safe="")
    except (TypeError, UnicodeEncodeError):
        msg = (
            f"{name!r} cannot name a deployment, release, release tag or execution: "
            "it is no plain text."
        )
    raise InputError(msg)


def _version() -> str:
    try:
        return version("vellum-nb")
    except PackageNotFoundError:
        return "0"
