"""Makes the ids of a project's nodes the same in every release of it."""

from __future__ import annotations

import sys
from io import StringIO

from vellum.workflows.loaders.base import BaseWorkflowFinder

__all__ = ["leave_out_of_ids"]


class _Namespace(BaseWorkflowFinder):
    """Tells the SDK that a package's name is only where a project happens to be loaded."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Find nothing: the modules are ordinary files."""

    def format_error_message(self, error_message: str) -> str:
        """Return the message in the project's own words."""
        return error_message.replace(f"{self.namespace}.", "")

    def virtual_open(self, file_path: str) -> StringIO | None:  # noqa: ARG002 - the SDK names it
        """Open nothing: the files are ordinary ones."""
        return None


def leave_out_of_ids(package: str) -> None:
    """Have the SDK make ids as if the modules of `package` were at the top.

    The SDK makes the ids of nodes, inputs and outputs from module paths, and each release of a
    project is loaded as a package of its own name. Call it before the project is imported.
    """
    if not any(getattr(finder, "namespace", "") == package for finder in sys.meta_path):
        sys.meta_path.append(_Namespace(package))
