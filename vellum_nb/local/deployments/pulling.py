"""The code of a release as Vellum hands it out: a zip archive, or one flat text."""

from __future__ import annotations

import inspect
import io
import json
import textwrap
import zipfile
from collections.abc import Mapping
from typing import Any

from vellum_nb.local.deployments.releases import Deployment, Release, WorkflowGoneError
from vellum_nb.local.deployments.sources import MODULE
from vellum_nb.local.refusals import bad_request

__all__ = ["definition", "flat", "source_of", "zipped"]

_DATE = (1980, 1, 1, 0, 0, 0)  # the same code is the same archive


def source_of(deployment: Deployment, release: Release) -> Mapping[str, str]:
    """Return the source of a release: path to text.

    Raises
    ------
    VellumNBError
        When it cannot be had; says why.
    """
    try:
        source = release.source
        if source is not None:
            return source
        code: Any = release.workflow()
        text = inspect.getsource(getattr(code, "target", code))
    except (WorkflowGoneError, OSError, TypeError) as exc:
        msg = (
            f"The source of this release of {deployment.name} cannot be had ({exc}); deploy a "
            "folder, a .py file, or a cell with %%vellum_deploy"
        )
        raise bad_request(msg) from exc
    return {f"{MODULE}.py": textwrap.dedent(text)}  # as a file or a cell would be called


def definition(deployment: Deployment, release: Release) -> str:
    """Return what a release takes and gives, as JSON text."""
    content = {
        "name": deployment.name,
        "label": deployment.label,
        "release_id": release.id,
        "description": release.description,
        "input_variables": [
            v.model_dump(mode="json", by_alias=True) for v in release.input_variables
        ],
        "output_variables": [
            v.model_dump(mode="json", by_alias=True) for v in release.output_variables
        ],
    }
    return json.dumps(content, indent=2) + "\n"


def zipped(files: Mapping[str, str]) -> bytes:
    """Return files as a zip archive, the same bytes for the same files.

    Examples
    --------
    >>> zipped({"workflow.py": "x = 1"}) == zipped({"workflow.py": "x = 1"})
    True
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in sorted(files.items()):
            info = zipfile.ZipInfo(path, date_time=_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text.encode("utf-8", "surrogatepass"))
    return buffer.getvalue()


def flat(files: Mapping[str, str]) -> str:
    """Return files as one text, each under a line with its path.

    Examples
    --------
    >>> print(flat({"a.py": "x = 1"}))
    # a.py
    x = 1
    """
    return "\n".join(f"# {path}\n{text}" for path, text in sorted(files.items()))
