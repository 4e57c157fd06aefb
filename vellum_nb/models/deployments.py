"""Deployments, releases, release tags and identity, as on the wire.

Source: https://docs.vellum.ai/developers/client-sdk/workflows/deployments
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from pydantic import Field, field_validator

from vellum_nb.models.base import Moment, Reply

__all__ = [
    "EnvironmentRead",
    "OrganizationRead",
    "Page",
    "ReleaseDeployment",
    "ReleaseEnvironment",
    "ReleaseRef",
    "ReleaseTagName",
    "SlimWorkflowDeployment",
    "VariableExtensions",
    "VellumVariable",
    "WorkflowDeploymentHistoryItem",
    "WorkflowDeploymentRead",
    "WorkflowDeploymentRelease",
    "WorkflowReleaseTagRead",
    "WorkflowVersion",
    "WorkspaceRead",
]

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
        """Take ``true``, the schema that allows everything, for no schema."""
        return value if isinstance(value, Mapping) else None

    @property
    def description(self) -> str:
        """The variable's description, or an empty string."""
        return (self.extensions and self.extensions.description) or ""

    @property
    def is_required(self) -> bool:
        """Whether a value must be given: `required` is not False and there is no default."""
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


class WorkflowReleaseTagRead(Reply):
    """A release tag and the release it points at now. `source` is SYSTEM or USER."""

    name: str
    source: str = "USER"
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
    """Of a release of the local server that runs in a container: the digest of its image."""


class ReleaseDeployment(Reply):
    """The deployment a release belongs to."""

    id: str = ""
    name: str = ""


class ReleaseTagName(Reply):
    """A tag on a release."""

    name: str
    source: str = "USER"


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
