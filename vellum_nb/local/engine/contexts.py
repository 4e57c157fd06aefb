"""What an execution was started by, as the contract has it."""

from __future__ import annotations

import uuid
from typing import Any

from vellum_nb.local.ledger.records import Record
from vellum_nb.local.ledger.rows import storable

__all__ = ["derived", "release_context"]


def release_context(record: Record) -> dict[str, Any]:
    """Return what an execution was started by: a request to a release tag."""
    return {
        "type": "WORKFLOW_RELEASE_TAG",
        "span_id": derived(record.execution_id, "release tag"),
        "deployment_id": record.deployment_id,
        "deployment_name": record.deployment_name,
        "deployment_history_item_id": record.release_id,
        "release_tag_id": derived(record.deployment_id, record.tag),
        "release_tag_name": record.tag,
        "workflow_version_id": record.version_id,
        "external_id": record.external_id,
        "metadata": None if record.metadata is None else dict(record.metadata),
        "links": None,
        "parent": {
            "type": "API_REQUEST",
            "span_id": derived(record.execution_id, "request"),
            "api_actor_id": None,
            "api_actor_type": "ENVIRONMENT_API_KEY",
            "api_actor_label": None,
            "links": None,
            "parent": None,
        },
    }


def derived(*parts: str) -> str:
    """Return a UUID that is the same for the same parts."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, storable("\n".join(parts))))
