"""`Client`: Vellum's workflow API, one short method an endpoint.

Source: https://docs.vellum.ai/developers/client-sdk
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from vellum_nb.client.sender import Sender
from vellum_nb.client.settings import (
    DEFAULT_TIMEOUT,
    Timeout,
    checked_timeout,
    find_key,
    find_urls,
)
from vellum_nb.errors import InputError
from vellum_nb.models import (
    Cancellation,
    EnvironmentRead,
    ExecuteWorkflowResponse,
    ExpandMeta,
    OrganizationRead,
    Page,
    SlimWorkflowDeployment,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowInput,
    WorkflowReleaseTagRead,
    WorkspaceRead,
)
from vellum_nb.models.inputs import plain, to_wire

__all__ = ["Client"]

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Inputs = Mapping[str, object] | Sequence[WorkflowInput | Mapping[str, Any]]

_DEPLOYMENTS = Page[SlimWorkflowDeployment]
_TAGS = Page[WorkflowReleaseTagRead]
_RELEASES = Page[WorkflowDeploymentRelease]


class Client:
    """Vellum's workflow API.

    The API key is looked for in this order, and never stored, shown or logged:

    1. `api_key`; ``"ask"`` has it typed unseen
    2. the environment variable ``VELLUM_API_KEY``
    3. neither: an error that says so

    One client serves any number of threads. Close it, or use it as a context manager.

    Parameters
    ----------
    api_key : str, optional
        See above.
    base_url : str, optional
        Address of the API; else ``VELLUM_API_URL``, else Vellum's own. A path prefix is kept.
    predict_url : str, optional
        Address for executions; else ``VELLUM_PREDICT_API_URL``, else Vellum's own. When
        `base_url` is another host, that host serves both.
    timeout : float, (float, float) or None
        Seconds to connect and to wait for data. None is for ever.
    api_version : str
        Value of the header X-API-Version.
    max_connections : int
        How many connections a host keeps open: as many as there are calls at once.

    Notes
    -----
    Sent again, at most three times: what never left, 429, and 503 with Retry-After. Reads are also
    sent again after a lost connection, 502, 503 and 504. An execution whose fate is unknown is
    never sent again: see `vellum_nb.APIError`.

    Examples
    --------
    >>> with Client(api_key="demo", base_url="http://127.0.0.1:8000/") as client:
    ...     client
    <Client http://127.0.0.1:8000>
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        predict_url: str | None = None,
        timeout: Timeout = DEFAULT_TIMEOUT,
        api_version: str = "2025-07-30",
        max_connections: int = 32,
    ) -> None:
        self._base_url, self._predict_url = find_urls(base_url, predict_url)
        self._sender = Sender(
            find_key(api_key),
            version=api_version,
            agent=f"vellum_nb/{_version()}",
            timeout=checked_timeout(timeout),
            connections=max_connections,
        )

    @property
    def base_url(self) -> str:
        """The address of the API, without a slash at the end."""
        return self._base_url

    @property
    def predict_url(self) -> str:
        """The address that executions go to, without a slash at the end."""
        return self._predict_url

    def __repr__(self) -> str:
        return f"<Client {self._base_url}>"

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

    def execute_workflow(
        self,
        inputs: Inputs,
        *,
        workflow_deployment_name: str | None = None,
        workflow_deployment_id: str | None = None,
        release_tag: str | None = None,
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        previous_execution_id: str | None = None,
        expand_meta: ExpandMeta | Mapping[str, Any] | None = None,
        cancel: Cancellation | None = None,
    ) -> ExecuteWorkflowResponse:
        """Execute a deployed workflow and wait for its outputs.

        Parameters
        ----------
        inputs
            Typed inputs, as models or dicts; or a dict of natural values, whose types are inferred.
        workflow_deployment_name, workflow_deployment_id
            Which deployment: one of the two.
        release_tag
            Which release; the server's default is LATEST.
        external_id
            Your own id of this execution, unique in the workspace.
        metadata, previous_execution_id, expand_meta
            As the API has them.
        cancel
            Ends the call from another thread, with an `APIConnectionError`.

        Returns
        -------
        ExecuteWorkflowResponse
            Also when the workflow was rejected: look at ``data.state``.

        Raises
        ------
        InputError
            The request cannot be written; nothing was sent.
        APIError
            No usable answer came.
        """
        fields = {
            "inputs": _wire(inputs),
            "expand_meta": _expanded(expand_meta),
            "workflow_deployment_id": workflow_deployment_id,
            "workflow_deployment_name": workflow_deployment_name,
            "release_tag": release_tag,
            "external_id": external_id,
            "metadata": plain(metadata),
            "previous_execution_id": previous_execution_id,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        url = f"{self._predict_url}/v1/execute-workflow"
        return self._sender.send("POST", url, ExecuteWorkflowResponse, body=body, cancel=cancel)

    def list_workflow_deployments(
        self,
        *,
        limit: int | None = None,
        offset: int | None = None,
        ordering: str | None = None,
        status: str | None = None,
    ) -> Page[SlimWorkflowDeployment]:
        """Return one page of the workflow deployments."""
        query = {"limit": limit, "offset": offset, "ordering": ordering, "status": status}
        return self._get(_DEPLOYMENTS, "workflow-deployments", query=query)

    def iter_workflow_deployments(
        self, *, ordering: str | None = None, status: str | None = None
    ) -> Iterator[SlimWorkflowDeployment]:
        """Walk all workflow deployments, page by page."""
        return _walk(
            lambda offset: self.list_workflow_deployments(
                offset=offset, ordering=ordering, status=status
            )
        )

    def retrieve_workflow_deployment(self, id: str) -> WorkflowDeploymentRead:  # noqa: A002
        """Return a deployment by its id or name; its variables are those of LATEST."""
        return self._get(WorkflowDeploymentRead, "workflow-deployments", id)

    def list_workflow_release_tags(
        self,
        id: str,  # noqa: A002
        *,
        limit: int | None = None,
        offset: int | None = None,
        ordering: str | None = None,
        source: str | None = None,
    ) -> Page[WorkflowReleaseTagRead]:
        """Return one page of a deployment's release tags; `source` is SYSTEM or USER."""
        query = {"limit": limit, "offset": offset, "ordering": ordering, "source": source}
        return self._get(_TAGS, "workflow-deployments", id, "release-tags", query=query)

    def iter_workflow_release_tags(
        self,
        id: str,  # noqa: A002
        *,
        ordering: str | None = None,
        source: str | None = None,
    ) -> Iterator[WorkflowReleaseTagRead]:
        """Walk all release tags of a deployment, page by page."""
        return _walk(
            lambda offset: self.list_workflow_release_tags(
                id, offset=offset, ordering=ordering, source=source
            )
        )

    def retrieve_workflow_release_tag(self, id: str, name: str) -> WorkflowReleaseTagRead:  # noqa: A002
        """Return one release tag of a deployment."""
        return self._get(WorkflowReleaseTagRead, "workflow-deployments", id, "release-tags", name)

    def list_workflow_deployment_releases(
        self,
        id: str,  # noqa: A002
        *,
        limit: int | None = None,
        offset: int | None = None,
        ordering: str | None = None,
    ) -> Page[WorkflowDeploymentRelease]:
        """Return one page of a deployment's releases."""
        query = {"limit": limit, "offset": offset, "ordering": ordering}
        return self._get(_RELEASES, "workflow-deployments", id, "releases", query=query)

    def iter_workflow_deployment_releases(
        self,
        id: str,  # noqa: A002
        *,
        ordering: str | None = None,
    ) -> Iterator[WorkflowDeploymentRelease]:
        """Walk all releases of a deployment, page by page."""
        return _walk(
            lambda offset: self.list_workflow_deployment_releases(
                id, offset=offset, ordering=ordering
            )
        )

    def retrieve_workflow_deployment_release(
        self,
        id: str,  # noqa: A002
        release_id_or_release_tag: str,
    ) -> WorkflowDeploymentRelease:
        """Return one release, with its own variables, by its id or by a release tag."""
        path = ("workflow-deployments", id, "releases", release_id_or_release_tag)
        return self._get(WorkflowDeploymentRelease, *path)

    def environment_identity(self) -> EnvironmentRead:
        """Return the environment that the API key belongs to."""
        return self._get(EnvironmentRead, "environments", "identity")

    def workspace_identity(self) -> WorkspaceRead:
        """Return the workspace that the API key belongs to."""
        return self._get(WorkspaceRead, "workspaces", "identity")

    def organization_identity(self) -> OrganizationRead:
        """Return the organization that the API key belongs to."""
        return self._get(OrganizationRead, "organizations", "identity")

    def _get(self, reply: type[M], *path: str, query: Mapping[str, object] | None = None) -> M:
        url = "/".join([self._base_url, "v1", *map(_segment, path)])
        return self._sender.send("GET", url, reply, query=query)


def _segment(name: str) -> str:
    if name in {"", ".", ".."}:
        msg = f"{name!r} cannot name a deployment, release or release tag."
        raise InputError(msg)
    return quote(name, safe="")


def _wire(inputs: Inputs) -> list[dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return [_fields(item) for item in to_wire(inputs, None)]
    return [_fields(item) for item in inputs]


def _fields(item: WorkflowInput | Mapping[str, Any]) -> dict[str, Any]:
    """Return an input as sent; a value that was never set stays absent."""
    if not isinstance(item, WorkflowInput):
        return dict(item)
    return {
        name: getattr(item, name)
        for name in ("name", "type", "value")
        if name in item.model_fields_set
    }


def _expanded(expand_meta: ExpandMeta | Mapping[str, Any] | None) -> Any:
    if isinstance(expand_meta, ExpandMeta):
        return expand_meta.model_dump(exclude_none=True)
    return plain(expand_meta)


def _walk(page: Callable[[int | None], Page[T]]) -> Iterator[T]:
    """Yield the items of all pages. Where the next page is follows from what came, not a link."""
    seen = 0
    while True:
        found = page(seen or None)
        yield from found.results
        seen += len(found.results)
        more = seen < found.count if found.count is not None else found.next is not None
        if not found.results or not more:
            return


def _version() -> str:
    try:
        return version("vellum-nb")
    except PackageNotFoundError:
        return "0"
