"""Workspaces: the client, the history and the widgets joined."""

from __future__ import annotations

from vellum_nb.workspace.comparing import compare
from vellum_nb.workspace.connect import connect
from vellum_nb.workspace.workspace import Workspace

__all__ = ["Workspace", "compare", "connect"]
