"""What is deployed: deployments, releases, release tags, code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vellum_nb.workspace.base import BaseWorkspace
from vellum_nb.workspace.frames import deployments_frame, releases_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ReleaseMethods"]


class ReleaseMethods(BaseWorkspace):
    """Reads and moves releases."""

    def deployments(self) -> pd.DataFrame:
        """Return one row a deployment, by name.

        Columns: `name`, `label`, `description`, `inputs`, `outputs` (as text, optional inputs
        with ``?``), `status`, `created` (UTC), `id`.
        """
        return deployments_frame(self._lookup.deployments())

    def releases(self, deployment: str) -> pd.DataFrame:
        """Return one row a release of `deployment`, newest first.

        Columns: `release_tags`, `description`, `inputs`, `outputs`, `created` (UTC), `release_id`.

        Raises
        ------
        NotFoundError
            There is no such deployment; the message lists those there are.
        """
        return releases_frame(self._lookup.releases(deployment))
