"""Deployments and releases as DataFrames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from vellum_nb.models import SlimWorkflowDeployment, VellumVariable, WorkflowDeploymentRelease

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["deployments_frame", "releases_frame"]


def deployments_frame(deployments: Iterable[SlimWorkflowDeployment]) -> pd.DataFrame:
    """Return one row a deployment."""
    columns = ["name", "label", "description", "inputs", "outputs", "status", "created", "id"]
    rows = [
        (
            d.name,
            d.label,
            d.description or "",
            _signature(d.input_variables),
            _signature(d.output_variables),
            d.status or "",
            d.created,
            d.id,
        )
        for d in deployments
    ]
    return _frame(rows, columns)


def releases_frame(releases: Iterable[WorkflowDeploymentRelease]) -> pd.DataFrame:
    """Return one row a release."""
    columns = ["release_tags", "description", "inputs", "outputs", "created", "release_id"]
    rows = [
        (
            ", ".join(tag.name for tag in r.release_tags),
            r.description or "",
            _signature(r.workflow_version.input_variables),
            _signature(r.workflow_version.output_variables),
            r.created,
            r.id,
        )
        for r in releases
    ]
    return _frame(rows, columns)


def _frame(rows: Sequence[tuple[str | datetime | None, ...]], columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=columns)
    texts = [column for column in columns if column != "created"]
    frame["created"] = pd.to_datetime(frame["created"], utc=True).astype("datetime64[us, UTC]")
    return frame.astype(dict.fromkeys(texts, "str"))


def _signature(variables: Iterable[VellumVariable]) -> str:
    """Return variables in one line, the optional ones with a question mark."""
    return ", ".join(f"{v.key}{'' if v.is_required else '?'}: {v.type}" for v in variables)
