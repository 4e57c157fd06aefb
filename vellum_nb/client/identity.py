"""Who the API key belongs to."""

from __future__ import annotations

from vellum_nb.client.base import BaseClient
from vellum_nb.models import EnvironmentRead, OrganizationRead, WorkspaceRead

__all__ = ["IdentityMethods"]


class IdentityMethods(BaseClient):
    """The methods that tell whose key this is."""

    def environment_identity(self) -> EnvironmentRead:
        """Return the environment that the API key belongs to."""
        return self._get(EnvironmentRead, "environments", "identity")

    def workspace_identity(self) -> WorkspaceRead:
        """Return the workspace that the API key belongs to."""
        return self._get(WorkspaceRead, "workspaces", "identity")

    def organization_identity(self) -> OrganizationRead:
        """Return the organization that the API key belongs to."""
        return self._get(OrganizationRead, "organizations", "identity")
