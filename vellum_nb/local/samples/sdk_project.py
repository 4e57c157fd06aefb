"""The sample that is a Workflows SDK project: each release is a folder as it would be pulled.

What a release declares is kept beside its folder, so that nothing imports the SDK, which takes
seconds, before the first run.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from vellum_nb.local.deployments.builds import Declared
from vellum_nb.models import VellumVariable

__all__ = ["PROJECTS", "declared", "sdk_is_installed"]

PROJECTS = Path(__file__).parent / "projects"


def sdk_is_installed() -> bool:
    """Return whether such a project can run here; nothing is imported for it."""
    return importlib.util.find_spec("vellum") is not None


def declared(folder: Path) -> Declared:
    """Return what the release in `folder` declares.

    Examples
    --------
    >>> variables = declared(PROJECTS / "feedback-digest" / "v1").input_variables
    >>> [variable.key for variable in variables]
    ['comments', 'product']
    """
    found = json.loads(folder.with_suffix(".json").read_text(encoding="utf-8"))
    inputs, outputs = (
        tuple(VellumVariable.model_validate(each) for each in found[key])
        for key in ("input_variables", "output_variables")
    )
    return Declared(inputs, outputs, found["summary"])
