"""`Client`: Vellum's workflow API, one method per endpoint.

Source: https://docs.vellum.ai/developers/client-sdk
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypeAlias, TypedDict, TypeVar, Unpack

from pydantic import BaseModel, ValidationError
from urllib3.filepost import encode_multipart_formdata

from vellum_nb.client.session import TRIES, Request, Session, build_request
from vellum_nb.client.settings import (
    DEFAULT_TIMEOUT,
    MAX_REPLY_BYTES,
    ClientSettings,
    Timeout,
    checked_timeout,
    find_key,
    find_urls,
    warn_of_plain_http,
)
from vellum_nb.client.streaming import EventStream
from vellum_nb.errors import APIResponseError, InputError
from vellum_nb.escaping import printed
from vellum_nb.models import (
    ActualRequest,
    Cancellation,
    ExpandMeta,
    Page,
    SlimWorkflowDeployment,
    SlimWorkflowExecutionRead,
    UploadedFileRead,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowEvent,
    WorkflowExecutionDetail,
    WorkflowInput,
    WorkflowReleaseTagRead,
    WorkflowStreamEvent,
)
from vellum_nb.models.base import stands_in
from vellum_nb.models.checks import available, check_text, check_texts, refuse, with_options
from vellum_nb.models.contract import (
    CheckWorkflowExecutionStatusResponse,
    EnvironmentRead,
    ExecuteWorkflowAsyncResponse,
    ExecuteWorkflowResponse,
    OrganizationRead,
    WorkflowDeploymentHistoryItem,
    WorkflowEventExecutionRead,
    WorkflowResolvedState,
    WorkspaceRead,
)
from vellum_nb.models.inputs import plain, to_wire

E = TypeVar("E", WorkflowStreamEvent, WorkflowEvent)
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Inputs: TypeAlias = Mapping[str, object] | Sequence[WorkflowInput | Mapping[str, Any]]
Filters: TypeAlias = Mapping[str, Any] | str
_MAX_PAGES = 10_000
_DEPLOYMENTS = "workflow-deployments"
_NESTED = frozenset(
    {"metadata", "expand_meta"}
)  # options of an execution request that are not texts


class ReleaseOptions(TypedDict, total=False):
    """Options of every execution request."""

    release_tag: str | None
    external_id: str | None
    metadata: Mapping[str, Any] | None
    previous_execution_id: str | None


class _Deployment(TypedDict, total=False):
    workflow_deployment_id: str | None
    workflow_deployment_name: str | None


class _ExpandedNodes(TypedDict, total=False):
    expand_meta: ExpandMeta | Mapping[str, Any] | None


class DeploymentOptions(_Deployment, ReleaseOptions, total=False):
    """Options of a request that names the deployment in its body."""


class ExecutionOptions(_ExpandedNodes, DeploymentOptions, total=False):
    """Options of a request with data of nodes in its reply."""


class Client:
    """Vellum's workflow API.

    A client can be used from any number of threads. Close it, or use it as a context manager.

    Parameters
    ----------
    api_key : str, optional
        Default: the environment variable ``VELLUM_API_KEY``. ``"ask"`` prompts for it without
        echo. It is never stored, printed or logged.
    base_url : str, optional
        Address of the API, with an optional path prefix. Default: ``VELLUM_API_URL``, or Vellum's
        cloud. ``http://`` sends the key unencrypted: the client warns once per remote host, and
        refuses it for Vellum's own hosts.
    predict_url : str, optional
        Address for executions. Default: ``VELLUM_PREDICT_API_URL``, or Vellum's cloud, or
        `base_url` if that is another host.
    timeout : float, (float, float) or None
        Seconds to connect and to wait for data, or None for no limit. Their sum limits the time of
        a whole answer, except of a stream.
    api_version : str
        Value of the header X-API-Version.
    max_connections : int
        Open connections per host: the number of concurrent calls.
    max_tries : int, default 4
        Limit of attempts per request; see the notes.
    max_reply_bytes : int or None, default 256,000,000
        Limit of the decoded size of an answer, or a line of a stream.

    Notes
    -----
    A request is retried if it was not sent, and after 429 and 503 with Retry-After. Reads are also
    retried after a lost connection, 502, 503 and 504. An execution that could have run is never
    retried: see `vellum_nb.APIError`. Requests to this machine use no proxy.

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
        max_connections: int = 64,
        max_tries: int = TRIES,
        max_reply_bytes: int | None = MAX_REPLY_BYTES,
    ) -> None:
        base, predict = find_urls(base_url, predict_url)
        warn_of_plain_http(base, predict)
        limits = (max_connections, max_tries, max_reply_bytes)
        key, times = find_key(api_key), checked_timeout(timeout)
        self._open(ClientSettings(base, predict, key, times, api_version, *limits))

    def _open(self, settings: ClientSettings) -> None:
        self._settings, self._session = settings, Session(settings)
        self._send = self._session.send

    @property
    def base_url(self) -> str:
        """The address of the API, without a trailing slash."""
        return self._settings.base_url

    @property
    def predict_url(self) -> str:
        """The address for executions, without a trailing slash."""
        return self._settings.predict_url

    @printed
    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; later calls raise an error."""
        self._session.close()

    # Executions

    @with_options(ExecutionOptions)
    def execute_workflow(
        self,
        inputs: Inputs,
        *,
        cancel: Cancellation | None = None,
        **options: Unpack[ExecutionOptions],
    ) -> ExecuteWorkflowResponse:
        """Execute a deployed workflow and wait for its outputs.

        Parameters
        ----------
        inputs
            Typed inputs, as models or dicts; or natural values by name, with inferred types.
        workflow_deployment_name, workflow_deployment_id
            The deployment, by name or by id.
        release_tag
            The release tag to execute. The default of the server is LATEST.
        external_id
            Your id for this execution, unique in the workspace.
        metadata, previous_execution_id, expand_meta
            As in the API.
        cancel
            Cancels the call from another thread; it raises an `APIConnectionError`.

        Returns
        -------
        ExecuteWorkflowResponse
            Also for a rejected workflow: see ``data.state``.

        Raises
        ------
        InputError
            If the request is invalid; it was not sent.
        APIError
            If the server gave no usable answer.
        """
        body = _execution_body(ExecutionOptions, options, inputs=_wire(inputs))
        request = self._predict("POST", "execute-workflow", body=body)
        return self._send(request, cancel).parse(ExecuteWorkflowResponse)

    @with_options(ExecutionOptions)
    def execute_workflow_stream(
        self,
        inputs: Inputs,
        *,
        event_types: Sequence[str] | None = None,
        cancel: Cancellation | None = None,
        **options: Unpack[ExecutionOptions],
    ) -> EventStream[WorkflowStreamEvent]:
        """Execute a deployed workflow and return its events as they arrive.

        `event_types` are WORKFLOW (the default) and NODE; NODE events contain the data selected by
        `expand_meta`. The other parameters are those of `execute_workflow`.
        """
        types = None if event_types is None else check_texts("event_types", event_types)
        body = _execution_body(ExecutionOptions, options, inputs=_wire(inputs))
        body["event_types"] = types
        request = self._predict("POST", "execute-workflow-stream", body=body)
        has_end = types is None or "WORKFLOW" in types
        return self._stream(WorkflowStreamEvent, request, cancel, has_end=has_end)

    @with_options(DeploymentOptions)
    def execute_workflow_async(
        self,
        inputs: Inputs,
        *,
        cancel: Cancellation | None = None,
        **options: Unpack[DeploymentOptions],
    ) -> ExecuteWorkflowAsyncResponse:
        """Start a deployed workflow and return its execution id, without waiting for it.

        `workflow_execution_status` returns its state. Parameters are those of `execute_workflow`.
        """
        body = _execution_body(DeploymentOptions, options, inputs=_wire(inputs))
        request = self._predict("POST", "execute-workflow-async", body=body)
        return self._send(request, cancel).parse(ExecuteWorkflowAsyncResponse)

    @with_options(ReleaseOptions)
    def execute_stream(
        self,
        id: str,
        *,
        inputs: Mapping[str, object] | None = None,
        trigger: str | None = None,
        cancel: Cancellation | None = None,
        **options: Unpack[ReleaseOptions],
    ) -> EventStream[WorkflowEvent]:
        """Execute a deployment and return all events of it and its nodes as they arrive.

        `inputs` are natural values by name, sent without types. `trigger` is the name or id of
        the trigger of the execution.
        """
        fields = {"inputs": _plain("inputs", inputs), **_texts(trigger=trigger)}
        body = _execution_body(ReleaseOptions, options, **fields)
        path = (_DEPLOYMENTS, id, "execute-stream")
        return self._stream(WorkflowEvent, self._predict("POST", *path, body=body), cancel)

    def workflow_execution_status(self, execution_id: str) -> CheckWorkflowExecutionStatusResponse:
        """Return the state of an execution, and its outputs once it has ended."""
        request = self._predict("GET", "workflows", "executions", execution_id, "status")
        return self._send(request).parse(CheckWorkflowExecutionStatusResponse)

    def retrieve_state(self, span_id: str) -> WorkflowResolvedState:
        """Return the state variables of the workflow with this execution id when it ended."""
        request = self._predict("GET", "workflows", span_id, "state")
        return self._send(request).parse(WorkflowResolvedState)

    def submit_workflow_execution_actuals(
        self,
        actuals: Sequence[ActualRequest | Mapping[str, Any]],
        *,
        execution_id: str | None = None,
        external_id: str | None = None,
    ) -> None:
        """Rate outputs of an execution and submit desired outputs.

        Identify the execution by either `execution_id` or `external_id`.
        """
        if isinstance(actuals, str | bytes | Mapping) or not isinstance(actuals, Sequence):
            refuse("actuals", actuals, "a list of actuals")
        ids = _texts(execution_id=execution_id, external_id=external_id)
        body = {"actuals": [_actual(actual) for actual in actuals], **ids}
        self._send(self._predict("POST", "submit-workflow-execution-actuals", body=body))

    def list_workflow_deployment_event_executions(
        self,
        id: str,
        *,
        filters: Filters | None = None,
        limit: int | None = None,
        offset: int | None = None,
        ordering: str | None = None,
        cancel: Cancellation | None = None,
    ) -> Page[SlimWorkflowExecutionRead]:
        """Return one page of a deployment's executions, of all releases and callers.

        `filters` is a group of conditions of the API, as a dict or as JSON text. `ordering` is
        ``timestamp``, ``-timestamp``, ``state`` or ``-state``.
        """
        query = {"filters": filters, "limit": limit, "offset": offset, "ordering": ordering}
        request = self._api("GET", _DEPLOYMENTS, id, "execution-events", query=query)
        return self._send(request, cancel).parse(Page[SlimWorkflowExecutionRead])

    def iter_workflow_deployment_event_executions(
        self,
        id: str,
        *,
        filters: Filters | None = None,
        limit: int | None = None,
        ordering: str | None = None,
    ) -> Iterator[SlimWorkflowExecutionRead]:
        """Iterate over all executions of a deployment, `limit` per page."""
        options = {"filters": filters, "limit": limit, "ordering": ordering}
        return _all_pages(self.list_workflow_deployment_event_executions, id, **options)

    def workflow_deployment_event_execution(
        self, id: str, execution_id: str
    ) -> WorkflowEventExecutionRead:
        """Return one execution of a deployment, with its spans."""
        return self._read(
            WorkflowEventExecutionRead, _DEPLOYMENTS, id, "execution-events", execution_id
        )

    def retrieve_workflow_execution_detail(
        self, execution_id: str, *, prev_span_id: str | None = None, span_limit: int | None = None
    ) -> WorkflowExecutionDetail:
        """Return one execution, with at most `span_limit` spans that follow `prev_span_id`."""
        query = {"prev_span_id": prev_span_id, "span_limit": span_limit}
        path = ("workflow-executions", execution_id, "detail")
        return self._read(WorkflowExecutionDetail, *path, query=query)

    # Deployments, their release tags and releases; `id` is an id or a name

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
        return self._read(Page[SlimWorkflowDeployment], _DEPLOYMENTS, query=query)

    def iter_workflow_deployments(
        self, *, ordering: str | None = None, status: str | None = None
    ) -> Iterator[SlimWorkflowDeployment]:
        """Iterate over all workflow deployments, page by page."""
        return _all_pages(self.list_workflow_deployments, ordering=ordering, status=status)

    def retrieve_workflow_deployment(self, id: str) -> WorkflowDeploymentRead:
        """Return a deployment by its id or name; its variables are those of LATEST."""
        return self._read(WorkflowDeploymentRead, _DEPLOYMENTS, id)

    def list_workflow_release_tags(
        self,
        id: str,
        *,
        limit: int | None = None,
        offset: int | None = None,
        ordering: str | None = None,
        source: str | None = None,
    ) -> Page[WorkflowReleaseTagRead]:
        """Return one page of a deployment's release tags; `source` is SYSTEM or USER."""
        query = {"limit": limit, "offset": offset, "ordering": ordering, "source": source}
        return self._read(
            Page[WorkflowReleaseTagRead], _DEPLOYMENTS, id, "release-tags", query=query
        )

    def iter_workflow_release_tags(
        self, id: str, *, ordering: str | None = None, source: str | None = None
    ) -> Iterator[WorkflowReleaseTagRead]:
        """Iterate over all release tags of a deployment, page by page."""
        return _all_pages(self.list_workflow_release_tags, id, ordering=ordering, source=source)

    def retrieve_workflow_release_tag(self, id: str, name: str) -> WorkflowReleaseTagRead:
        """Return one release tag of a deployment."""
        return self._read(WorkflowReleaseTagRead, _DEPLOYMENTS, id, "release-tags", name)

    def update_workflow_release_tag(
        self, id: str, name: str, *, history_item_id: str | None = None
    ) -> WorkflowReleaseTagRead:
        """Point a release tag to another release, by its id, and return it."""
        body = _texts(history_item_id=history_item_id)
        path = (_DEPLOYMENTS, id, "release-tags", name)
        return self._send(self._api("PATCH", *path, body=body)).parse(WorkflowReleaseTagRead)

    def list_workflow_deployment_releases(
        self,
        id: str,
        *,
        limit: int | None = None,
        offset: int | None = None,
        ordering: str | None = None,
    ) -> Page[WorkflowDeploymentRelease]:
        """Return one page of a deployment's releases."""
        query = {"limit": limit, "offset": offset, "ordering": ordering}
        return self._read(
            Page[WorkflowDeploymentRelease], _DEPLOYMENTS, id, "releases", query=query
        )

    def iter_workflow_deployment_releases(
        self, id: str, *, ordering: str | None = None
    ) -> Iterator[WorkflowDeploymentRelease]:
        """Iterate over all releases of a deployment, page by page."""
        return _all_pages(self.list_workflow_deployment_releases, id, ordering=ordering)

    def retrieve_workflow_deployment_release(
        self, id: str, release_id_or_release_tag: str
    ) -> WorkflowDeploymentRelease:
        """Return one release, with its own variables, by its id or by a release tag."""
        path = (_DEPLOYMENTS, id, "releases", release_id_or_release_tag)
        return self._read(WorkflowDeploymentRelease, *path)

    def workflow_deployment_history_item_retrieve(
        self, id: str, history_id_or_release_tag: str
    ) -> WorkflowDeploymentHistoryItem:
        """Return a release as a history item, the form that Vellum used before releases."""
        path = (_DEPLOYMENTS, id, "history", history_id_or_release_tag)
        return self._read(WorkflowDeploymentHistoryItem, *path)

    def deploy_workflow(
        self,
        id: str,
        *,
        workflow_deployment_name: str | None = None,
        workflow_deployment_id: str | None = None,
        label: str | None = None,
        release_tags: Sequence[str] | None = None,
        release_description: str | None = None,
    ) -> WorkflowDeploymentRead:
        """Deploy the workflow sandbox `id` as a new release, which gets the `release_tags`."""
        tags = None if release_tags is None else check_texts("release_tags", release_tags)
        body = _texts(
            workflow_deployment_name=workflow_deployment_name,
            workflow_deployment_id=workflow_deployment_id,
            label=label,
            release_description=release_description,
        )
        path = ("workflow-sandboxes", id, "deploy")
        request = self._api("POST", *path, body={**body, "release_tags": tags})
        return self._send(request).parse(WorkflowDeploymentRead)

    # Files

    def pull(
        self,
        id: str,
        *,
        release_tag: str | None = None,
        exclude_code: bool | None = None,
        exclude_display: bool | None = None,
        include_json: bool | None = None,
        include_sandbox: bool | None = None,
        strict: bool | None = None,
        version: str | None = None,
    ) -> bytes:
        """Return the code of a workflow as a ZIP archive; `id` is a deployment's id or name."""
        query = {
            "release_tag": release_tag,
            "exclude_code": exclude_code,
            "exclude_display": exclude_display,
            "include_json": include_json,
            "include_sandbox": include_sandbox,
            "strict": strict,
            "version": version,
        }
        request = self._predict("GET", "workflows", id, "pull", query=query)
        return self._send(request._replace(accept="*/*")).content

    def upload_file(
        self, content: bytes, *, filename: str = "upload", cancel: Cancellation | None = None
    ) -> UploadedFileRead:
        """Upload a file; media inputs refer to it by the ``src`` of the reply."""
        if not isinstance(content, bytes | bytearray | memoryview):
            refuse("content", content, "bytes")
        check_text("filename", filename)
        kind = mimetypes.guess_type(filename)[0] or "application/octet-stream"
        fields = {"file": (filename, bytes(content), kind)}
        data, content_type = encode_multipart_formdata(fields)
        request = self._api("POST", "uploaded-files")
        sent = request._replace(data=data, content_type=content_type)
        return self._send(sent, cancel).parse(UploadedFileRead)

    def retrieve_uploaded_file(
        self, id: str, *, expiry_seconds: int | None = None
    ) -> UploadedFileRead:
        """Return an uploaded file's address, good for `expiry_seconds` (604800 by default)."""
        query = {"expiry_seconds": expiry_seconds}
        return self._read(UploadedFileRead, "uploaded-files", id, query=query)

    # Identity of the API key

    def environment_identity(self) -> EnvironmentRead:
        """Return the environment that the API key belongs to."""
        return self._read(EnvironmentRead, "environments", "identity")

    def workspace_identity(self) -> WorkspaceRead:
        """Return the workspace that the API key belongs to."""
        return self._read(WorkspaceRead, "workspaces", "identity")

    def organization_identity(self) -> OrganizationRead:
        """Return the organization that the API key belongs to."""
        return self._read(OrganizationRead, "organizations", "identity")

    def _read(self, model: type[M], *path: str, query: Mapping[str, Any] | None = None) -> M:
        return self._send(self._api("GET", *path, query=query)).parse(model)

    def _api(self, method: str, *path: str, **parts: Mapping[str, Any] | None) -> Request:
        return build_request(method, self._settings.base_url, path, **parts)

    def _predict(self, method: str, *path: str, **parts: Mapping[str, Any]) -> Request:
        return build_request(method, self._settings.predict_url, path, **parts)

    def _stream(
        self, kind: type[E], request: Request, cancel: Cancellation | None, *, has_end: bool = True
    ) -> EventStream[E]:
        answer = self._send(request._replace(accept="*/*", stream=True), cancel)
        assert answer.stream is not None  # noqa: S101  # requested by `stream=True`
        return EventStream(answer.stream, kind, has_end=has_end)


def client_settings(client: Client, **changes: int) -> ClientSettings:
    """Return the settings of `client`, with its key and `changes`, for another process."""
    return replace(client._settings, **changes)  # type: ignore[arg-type]  # noqa: SLF001


def open_client(settings: ClientSettings) -> Client:
    """Return a client with new connections."""
    client = Client.__new__(Client)
    client._open(settings)  # noqa: SLF001
    return client


def contains_key(client: Client, text: str) -> bool:
    """Return whether `text` contains the API key of `client`, plain or escaped."""
    return stands_in(client._settings.key.get_secret_value(), text)  # noqa: SLF001


def _all_pages(call: Callable[..., Page[T]], *args: str, **options: Any) -> Iterator[T]:
    """Yield the items of all pages; the offset is the number of items, not a link."""
    count = 0
    last: Sequence[T] = ()
    for _ in range(_MAX_PAGES):
        current = call(*args, offset=count or None, **options)
        if current.results and current.results == last:
            msg = f"The server sent the same page twice after {count} items; the others are unknown"
            raise APIResponseError(msg)
        last = current.results
        yield from current.results
        count += len(current.results)
        more = count < current.count if current.count is not None else current.next is not None
        if not current.results or not more:
            return
    msg = f"The list has no end: {count:,} items in {_MAX_PAGES:,} pages. Request larger pages."
    raise APIResponseError(msg)


def _wire(inputs: object) -> list[dict[str, Any]]:
    items = to_wire(inputs, None) if isinstance(inputs, Mapping) else inputs
    if not isinstance(items, Sequence) or isinstance(items, str | bytes):
        refuse("inputs", inputs, "a dict of values, or a list of typed inputs")
    wire_inputs = []
    for item in items:
        if isinstance(item, WorkflowInput):  # a value that was not set is not sent
            wire_inputs.append(
                {name: value for name, value in item if name in item.model_fields_set}
            )
        elif isinstance(item, Mapping):
            wire_inputs.append(dict(item))
        else:
            refuse("inputs", item, "typed inputs, as models or dicts")
    return wire_inputs


def _execution_body(kind: Any, options: Mapping[str, Any], **fields: object) -> dict[str, Any]:
    """Return the body of an execution request; raise TypeError for an option not in `kind`."""
    for name in options.keys() - kind.__optional_keys__:
        msg = f"Unexpected keyword argument {name!r}{available(kind.__annotations__)}"
        raise TypeError(msg)
    values = {name: options.get(name) for name in kind.__annotations__}
    nested = {name: _plain(name, values[name]) for name in values.keys() & _NESTED}
    _texts(**{name: values[name] for name in values.keys() - _NESTED})
    return {**fields, **values, **nested}


def _texts(**values: Any) -> dict[str, Any]:
    """Return `values`; raise an `InputError` unless they are texts or None."""
    for name, value in values.items():
        check_text(name, value, optional=True)
    return values


def _plain(name: str, value: object) -> Any:
    if isinstance(value, ExpandMeta):
        return value.model_dump(exclude_none=True)
    if not isinstance(value, Mapping | None):
        refuse(name, value, "a dict or None")
    return None if value is None else plain(value)


def _actual(actual: ActualRequest | Mapping[str, Any]) -> dict[str, Any]:
    """Validate an actual and drop fields that are None."""
    fields = dict(actual) if isinstance(actual, ActualRequest) else actual
    try:
        checked = ActualRequest.model_validate(plain(fields))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        msg = f"An actual cannot be {first['input']!r:.60} in {place}: {first['msg']}."
        raise InputError(msg) from None
    return {name: value for name, value in checked if value is not None}
