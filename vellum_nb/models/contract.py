"""Vellum's workflow API on the wire: requests, replies and events.

Unknown fields are ignored; unknown types and states are accepted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from vellum_nb.models.base import Model, Moment, Reply, validated

# Execute Workflow: https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow


END_STATES = frozenset({"FULFILLED", "REJECTED"})
NonEmpty = Annotated[str, Field(min_length=1)]
N = TypeVar("N", int, float)
_BEYOND = 10**15


class WorkflowInput(Model):
    """One typed input: `type` is one of STRING, NUMBER, JSON, CHAT_HISTORY, IMAGE and so on."""

    name: NonEmpty
    type: str
    value: Any = None


class ExpandMeta(Model):
    """Which figures of prompt nodes the server adds to its reply."""

    usage: bool | None = None
    cost: bool | None = None
    model_name: bool | None = None


class ExecuteWorkflowRequest(Model):
    """Body of POST /v1/execute-workflow. A null field counts as absent."""

    inputs: tuple[WorkflowInput, ...]
    expand_meta: ExpandMeta | None = None
    workflow_deployment_id: str | None = None
    workflow_deployment_name: NonEmpty | None = None
    release_tag: NonEmpty | None = None
    external_id: NonEmpty | None = None
    metadata: Mapping[str, Any] | None = None
    previous_execution_id: str | None = None


class WorkflowOutput(Reply):
    """Typed output. An unknown `type` or a missing `value` is accepted."""

    id: str = ""
    name: str
    type: str = "JSON"
    value: Any = None


class WorkflowEventError(Reply):
    """Why a run was rejected."""

    message: str = ""
    code: str = "INTERNAL_SERVER_ERROR"
    raw_data: Any = None
    stacktrace: str | None = None


class WorkflowResult(Reply):
    """How a run ended: `state` is FULFILLED with outputs or REJECTED with an error."""

    id: str = ""
    state: str
    ts: Moment | None = None
    outputs: tuple[WorkflowOutput, ...] = ()
    error: WorkflowEventError | None = None


class ExecuteWorkflowResponse(Reply):
    """Reply of POST /v1/execute-workflow."""

    execution_id: str
    external_id: str | None = None
    run_id: str | None = None
    data: WorkflowResult


def _sane(figure: N | None) -> N | None:
    """Return a figure, or None if it is NaN or implausibly large."""
    return figure if figure is not None and abs(figure) < _BEYOND else None


Count = Annotated[int | None, AfterValidator(_sane)]
Amount = Annotated[float | None, AfterValidator(_sane)]


class MlModelUsage(Reply):
    """Usage of one model; None for a figure that the server does not report."""

    output_token_count: Count = None
    input_token_count: Count = None
    input_char_count: Count = None
    output_char_count: Count = None
    compute_nanos: Count = None
    cache_creation_input_tokens: Count = None
    cache_read_input_tokens: Count = None


class MlModelUsageWrapper(Reply):
    """Usage of the model with a name."""

    ml_model_name: str = ""
    ml_model_usage: MlModelUsage = MlModelUsage()


class Price(Reply):
    """An amount of money; `unit` is USD."""

    value: Amount = None
    unit: str = "USD"


class PromptNodeExecutionMeta(Reply):
    """Usage and cost of a prompt node, as requested by `ExpandMeta`."""

    usage: MlModelUsage | None = None
    cost: Price | None = None
    model_name: str | None = None


class WorkflowExecutionUsageResult(Reply):
    """Usage and cost of an execution or a span. The server can calculate it later or never."""

    usage: tuple[MlModelUsageWrapper, ...] | None = None
    cost: tuple[Price, ...] | None = None
    error: WorkflowEventError | None = None


# Events and spans: https://docs.vellum.ai/developers/client-sdk/workflows/execute-stream


_EVENT_ENDS = frozenset(
    {"workflow.execution.fulfilled", "workflow.execution.rejected", "workflow.execution.paused"}
)


class VellumCodeResourceDefinition(Reply):
    """A workflow, node or trigger, as code names it."""

    id: str = ""
    name: str = ""
    module: tuple[str, ...] = ()


class ParentContext(Reply):
    """The parent of an execution or event; its fields follow from `type`.

    WORKFLOW_RELEASE_TAG names the executed release; WORKFLOW and WORKFLOW_NODE contain the event;
    API_REQUEST and the like are the origin.
    """

    type: str = ""
    span_id: str = ""
    parent: ParentContext | None = None
    links: tuple[Mapping[str, Any], ...] | None = None
    workflow_definition: VellumCodeResourceDefinition | None = None
    node_definition: VellumCodeResourceDefinition | None = None
    deployment_id: str | None = None
    deployment_name: str | None = None
    deployment_history_item_id: str | None = None
    release_tag_id: str | None = None
    release_tag_name: str | None = None
    workflow_version_id: str | None = None
    external_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    api_actor_id: str | None = None
    api_actor_type: str | None = None
    api_actor_label: str | None = None


class WorkflowEvent(Reply):
    """One event of an execution: `name` is such as ``node.execution.fulfilled``.

    The workflow's own events have the execution id as their `span_id`.

    Examples
    --------
    >>> body = {"output": {"name": "answer", "delta": "He"}}
    >>> event = WorkflowEvent(name="workflow.execution.streaming", body=body)
    >>> event.output_name, event.delta, event.ends
    ('answer', 'He', False)
    """

    name: str
    body: Mapping[str, Any] = Field(default_factory=dict)
    id: str = ""
    timestamp: Moment | None = None
    api_version: str | None = None
    trace_id: str = ""
    span_id: str = ""
    parent: ParentContext | None = None
    links: tuple[Mapping[str, Any], ...] | None = None

    @property
    def state(self) -> str:
        """The last word of its name as a state: INITIATED, STREAMING, FULFILLED and so on."""
        return self.name.rpartition(".")[2].upper()

    @property
    def definition(self) -> VellumCodeResourceDefinition:
        """The workflow or the node of the event."""
        definition = self.body.get("node_definition") or self.body.get("workflow_definition")
        return validated(VellumCodeResourceDefinition, definition) or VellumCodeResourceDefinition()

    @property
    def output_name(self) -> str | None:
        """The name of the output that grows, in a streaming event."""
        return self._part("output").get("name")

    @property
    def delta(self) -> Any:
        """The text or value added to `output_name`; None in its first and last event."""
        return self._part("output").get("delta")

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The inputs by name, in an initiated event."""
        return self._part("inputs")

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs by name, in a fulfilled event."""
        return self._part("outputs")

    @property
    def error(self) -> WorkflowEventError | None:
        """Why it was rejected."""
        return validated(WorkflowEventError, self.body.get("error"))

    @property
    def ends(self) -> bool:
        """Whether it ends the execution, or a workflow inside it."""
        return self.name in _EVENT_ENDS

    def _part(self, name: str) -> Mapping[str, Any]:
        part = self.body.get(name)
        return part if isinstance(part, Mapping) else {}


class SpanAttributes(Reply):
    """Subject of a span: a node (`node_id`, `filepath`) or a workflow (`workflow_id`).

    `kind`, such as PROMPT, is an addition of our local server.
    """

    label: str = ""
    filepath: str | None = None
    node_id: str | None = None
    workflow_id: str | None = None
    kind: str | None = None


class VellumSpan(Reply):
    """A workflow (``workflow.execution``) or node (``node.execution``) from start to end."""

    name: str = ""
    span_id: str
    parent_span_id: str | None = None
    start_ts: Moment | None = None
    end_ts: Moment | None = None
    events: tuple[WorkflowEvent, ...] = ()
    attributes: SpanAttributes = SpanAttributes()
    usage_result: WorkflowExecutionUsageResult | None = None


# Executions, ratings and files: https://docs.vellum.ai/developers/client-sdk


class ExecuteWorkflowAsyncResponse(Reply):
    """Reply of POST /v1/execute-workflow-async."""

    execution_id: NonEmpty


class CheckWorkflowExecutionStatusResponse(Reply):
    """The status of an execution; `outputs` by name, as plain values."""

    status: str
    execution_id: str
    outputs: Mapping[str, Any] | None = None
    error: WorkflowEventError | None = None
    execution_detail_url: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it is FULFILLED or REJECTED."""
        return self.status in END_STATES


class ActualRequest(Model):
    """Rating of an output: its quality and the desired value.

    Name the output by `output_key` (its name) or `output_id`. `quality` is from 0 to 1.
    """

    output_type: Literal["STRING", "JSON", "CHAT_HISTORY"] = "STRING"
    output_key: NonEmpty | None = None
    output_id: str | None = None
    quality: Annotated[float, Field(ge=0, le=1)] | None = None
    desired_output_value: Any = None
    metadata: Mapping[str, Any] | None = None
    timestamp: float | None = None


class WorkflowExecutionActual(Reply):
    """Rating of an output; `output` is the desired one."""

    output: WorkflowOutput | None = None
    timestamp: Moment | None = None
    quality: float | None = None
    metadata: Mapping[str, Any] | None = None


class MetricResult(Reply):
    """Result of an online evaluation."""

    outputs: tuple[WorkflowOutput, ...] = ()
    label: str = ""
    metric_id: str = ""


class _Execution(Reply):
    span_id: str
    start: Moment | None = None
    end: Moment | None = None
    inputs: tuple[WorkflowOutput, ...] = ()
    outputs: tuple[WorkflowOutput, ...] = ()
    error: WorkflowEventError | None = None
    usage_results: tuple[WorkflowExecutionUsageResult, ...] | None = None
    parent_context: ParentContext | None = None

    @property
    def execution_id(self) -> str:
        """The execution id, which is the id of its span."""
        return self.span_id

    @property
    def status(self) -> str:
        """REJECTED with an error, FULFILLED with an end, INITIATED while it runs."""
        if self.error is not None:
            return "REJECTED"
        return "INITIATED" if self.end is None else "FULFILLED"

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None while one of the two is unknown."""
        if self.start is None or self.end is None:
            return None
        return (self.end - self.start).total_seconds()


class SlimWorkflowExecutionRead(_Execution):
    """One execution in a list. `parent_context` names the release."""

    latest_actual: WorkflowExecutionActual | None = None
    metric_results: tuple[MetricResult, ...] = ()


class WorkflowEventExecutionRead(SlimWorkflowExecutionRead):
    """One execution with its spans; `state` holds the workflow's state variables."""

    spans: tuple[VellumSpan, ...] = ()
    state: Mapping[str, Any] | None = None


class WorkflowExecutionDetail(_Execution):
    """One execution by its id alone, with its spans, page by page."""

    spans: tuple[VellumSpan, ...] = ()
    state: Mapping[str, Any] | None = None


class WorkflowResolvedState(Reply):
    """The state variables of a workflow when it ended."""

    span_id: str
    trace_id: str = ""
    timestamp: Moment | None = None
    state: Mapping[str, Any] = Field(default_factory=dict)
    previous_span_id: str | None = None
    previous_trace_id: str | None = None
    root_span_id: str | None = None
    root_trace_id: str | None = None


class UploadedFileRead(Reply):
    """An uploaded file; `file_url` serves it for a while."""

    id: str
    file_url: str | None = None

    @property
    def src(self) -> str:
        """The address that media inputs name it by."""
        return f"vellum:uploaded-file:{self.id}"


# Deployments: https://docs.vellum.ai/developers/client-sdk/workflows/deployments


T = TypeVar("T")


class VariableExtensions(Reply):
    """How a variable presents itself."""

    color: str | None = None
    description: str | None = None
    title: str | None = None


class VellumVariable(Reply):
    """An input or output variable of a deployment.

    `key` is the name inputs are sent under. `default` is a typed value ``{"type", "value"}``.
    `json_schema` is the wire field ``schema``.
    """

    id: str = ""
    key: str
    type: str = "JSON"
    required: bool | None = None
    default: Mapping[str, Any] | None = None
    extensions: VariableExtensions | None = None
    json_schema: Mapping[str, Any] | None = Field(default=None, alias="schema")

    @field_validator("default", mode="before")
    @classmethod
    def _typed(cls, value: Any) -> Any:
        """Accept a default without its type."""
        return value if value is None or isinstance(value, Mapping) else {"value": value}

    @field_validator("json_schema", mode="before")
    @classmethod
    def _schema_or_none(cls, value: Any) -> Any:
        """Replace ``true``, the schema that allows everything, by None."""
        return value if isinstance(value, Mapping) else None

    @property
    def description(self) -> str:
        """The variable's description, or an empty string."""
        return (self.extensions and self.extensions.description) or ""

    @property
    def is_required(self) -> bool:
        """Whether a value is required: `required` is not False and no default exists."""
        return self.required is not False and self.default is None


class SlimWorkflowDeployment(Reply):
    """One deployment in a list."""

    id: str
    name: str
    label: str = ""
    status: str | None = None
    environment: str | None = None
    created: Moment | None = None
    last_deployed_on: Moment | None = None
    input_variables: tuple[VellumVariable, ...] = ()
    output_variables: tuple[VellumVariable, ...] = ()
    description: str | None = None


class WorkflowDeploymentRead(SlimWorkflowDeployment):
    """One deployment, retrieved by id or name; its variables are those of LATEST."""

    last_deployed_history_item_id: str | None = None
    display_data: Mapping[str, Any] | None = None


class WorkflowDeploymentHistoryItem(Reply):
    """A release in the form that the API had before there were releases."""

    id: str
    workflow_deployment_id: str = ""
    timestamp: Moment | None = None
    label: str = ""
    name: str
    input_variables: tuple[VellumVariable, ...] = ()
    output_variables: tuple[VellumVariable, ...] = ()
    description: str | None = None


class ReleaseRef(Reply):
    """A release as a release tag points at it."""

    id: str
    timestamp: Moment | None = None


class ReleaseTagName(Reply):
    """A tag on a release; `source` is SYSTEM or USER."""

    name: str
    source: str = "USER"


class WorkflowReleaseTagRead(ReleaseTagName):
    """A release tag and the release it points at now."""

    history_item: ReleaseRef | None = None
    release: ReleaseRef | None = None

    @property
    def release_id(self) -> str | None:
        """The id of the release the tag points at."""
        ref = self.release or self.history_item
        return ref.id if ref else None


class ReleaseEnvironment(Reply):
    """The environment a release lives in."""

    id: str = ""
    name: str = ""
    label: str = ""


class WorkflowVersion(Reply):
    """The version of a workflow that a release holds: its own input and output variables."""

    id: str = ""
    input_variables: tuple[VellumVariable, ...] = ()
    output_variables: tuple[VellumVariable, ...] = ()
    dependencies: tuple[Mapping[str, Any], ...] | None = None
    container_image: str | None = None
    """Digest of the image, for a release of the local server that runs in a container."""


class ReleaseDeployment(Reply):
    """The deployment a release belongs to."""

    id: str = ""
    name: str = ""


class WorkflowDeploymentRelease(Reply):
    """One immutable release of a deployment."""

    id: str
    created: Moment | None = None
    environment: ReleaseEnvironment | None = None
    created_by: Mapping[str, Any] | None = None
    workflow_version: WorkflowVersion = WorkflowVersion()
    deployment: ReleaseDeployment | None = None
    description: str | None = None
    release_tags: tuple[ReleaseTagName, ...] = ()
    reviews: tuple[Mapping[str, Any], ...] = ()

    def other_tags(self, tag: str) -> tuple[str, ...]:
        """Return the other tags of this release by name, ``LATEST`` last."""
        names = {each.name for each in self.release_tags} - {tag}
        return tuple(sorted(names, key=lambda name: (name == "LATEST", name)))


class Page(Reply, Generic[T]):
    """One page of a list: `count` over all pages, `results` of this one."""

    count: int | None = None
    next: str | None = None
    previous: str | None = None
    results: tuple[T, ...] = ()


class EnvironmentRead(Reply):
    """The environment that the API key belongs to."""

    id: str | None = None
    name: str
    label: str = ""
    display_config: Mapping[str, Any] | None = None


class WorkspaceRead(Reply):
    """The workspace that the API key belongs to."""

    id: str
    name: str
    label: str = ""
    created: Moment | None = None
    display_config: Mapping[str, Any] | None = None


class OrganizationRead(Reply):
    """The organization that the API key belongs to."""

    id: str
    name: str
    created: Moment | None = None
    allow_staff_access: bool | None = None
    new_member_join_behavior: str | None = None
    limit_config: Mapping[str, Any] | None = None


# Execute Workflow as Stream:
# https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow-stream
# The schema of NODE events may change, as Vellum says: what does not fit counts as absent.


class WorkflowResultEventOutputData(Reply):
    """The progress of one output: `state` is INITIATED, STREAMING with a `delta`, or FULFILLED."""

    id: str | None = None
    name: str = ""
    state: str = "STREAMING"
    node_id: str | None = None
    delta: str | None = None
    type: str = "STRING"
    value: Any = None


class WorkflowResultEvent(Reply):
    """Progress of a workflow, with `outputs` if FULFILLED or `error` if REJECTED."""

    id: str = ""
    state: str
    ts: Moment | None = None
    output: WorkflowResultEventOutputData | None = None
    error: WorkflowEventError | None = None
    outputs: tuple[WorkflowOutput, ...] = ()
    inputs: tuple[WorkflowOutput, ...] = ()


class WorkflowNodeResultData(Reply):
    """The data of a node of one `type` (PROMPT, TEMPLATING, MAP and so on)."""

    type: str = ""
    data: Mapping[str, Any] | None = None

    @property
    def execution_meta(self) -> PromptNodeExecutionMeta | None:
        """Usage of a prompt node, if requested and available."""
        return validated(PromptNodeExecutionMeta, (self.data or {}).get("execution_meta"))


class WorkflowNodeResultEvent(Reply):
    """The progress of one node: `state` is INITIATED, STREAMING, FULFILLED or REJECTED.

    `node_name` and `parent_span_id` (of the outer node or the execution) are additions of our
    local server; Vellum identifies nodes only by `node_id`.
    """

    id: str = ""
    node_id: str = ""
    node_result_id: str = ""
    state: str = ""
    ts: Moment | None = None
    data: WorkflowNodeResultData | None = None
    source_execution_id: str | None = None
    input_values: tuple[Mapping[str, Any], ...] = ()
    output: Mapping[str, Any] | None = None
    output_index: int | None = None
    output_values: tuple[Mapping[str, Any], ...] = ()
    mocked: bool | None = None
    error: WorkflowEventError | None = None
    node_name: str | None = None
    parent_span_id: str | None = None

    @field_validator("*", mode="wrap")
    @classmethod
    def _misfit_is_absent(
        cls, value: Any, fit: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        try:
            return fit(value)
        except ValidationError:
            return cls.model_fields[str(info.field_name)].default


class WorkflowStreamEvent(Reply):
    """One event of a stream: of the workflow (`type` WORKFLOW) or of one of its nodes (NODE).

    Examples
    --------
    >>> data = {"state": "STREAMING", "output": {"name": "answer", "delta": "He"}}
    >>> event = WorkflowStreamEvent.model_validate({"execution_id": "e1", "data": data})
    >>> event.state, event.output_name, event.delta, event.ends
    ('STREAMING', 'answer', 'He', False)
    """

    execution_id: str
    run_id: str | None = None
    external_id: str | None = None
    type: str = "WORKFLOW"
    data: WorkflowResultEvent | WorkflowNodeResultEvent

    @field_validator("data", mode="before")
    @classmethod
    def _by_type(cls, value: Any, info: ValidationInfo) -> Any:
        is_workflow = info.data.get("type") == "WORKFLOW"
        return (WorkflowResultEvent if is_workflow else WorkflowNodeResultEvent).model_validate(
            value
        )

    @property
    def state(self) -> str:
        """The state of the workflow, or of the node."""
        return self.data.state

    @property
    def output(self) -> WorkflowResultEventOutputData | None:
        """The progress of one output of the workflow, when the event is about one."""
        return self.data.output if isinstance(self.data, WorkflowResultEvent) else None

    @property
    def output_name(self) -> str | None:
        """The name of the workflow's output that the event is about."""
        return self.output.name if self.output else None

    @property
    def delta(self) -> str | None:
        """The text that the workflow's output `output_name` grows by; None in other events."""
        return self.output.delta if self.output else None

    @property
    def outputs(self) -> tuple[WorkflowOutput, ...]:
        """All outputs of the workflow; empty before it is FULFILLED."""
        return self.data.outputs if isinstance(self.data, WorkflowResultEvent) else ()

    @property
    def error(self) -> WorkflowEventError | None:
        """Why the workflow, or the node, was REJECTED."""
        return self.data.error

    @property
    def ends(self) -> bool:
        """Whether it is the last one of the execution."""
        return self.type == "WORKFLOW" and self.state in END_STATES
