"""The two families of error codes: those of events, and those of executions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["EXECUTION_CODES", "execution_code"]

# What an event says (Vellum's SDK code) -> what an execution says of the same error.
EXECUTION_CODES: Mapping[str, str] = MappingProxyType(
    {
        "INVALID_WORKFLOW": "WORKFLOW_INITIALIZATION",
        "INVALID_INPUTS": "INVALID_INPUTS",
        "INVALID_OUTPUTS": "NODE_EXECUTION",
        "INVALID_STATE": "NODE_EXECUTION",
        "INVALID_CODE": "NODE_EXECUTION",
        "INVALID_TEMPLATE": "INVALID_TEMPLATE",
        "INTERNAL_ERROR": "INTERNAL_SERVER_ERROR",
        "PROVIDER_CREDENTIALS_UNAVAILABLE": "PROVIDER_CREDENTIALS_UNAVAILABLE",
        "INTEGRATION_CREDENTIALS_UNAVAILABLE": "INTEGRATION_CREDENTIALS_UNAVAILABLE",
        "PROVIDER_ERROR": "LLM_PROVIDER",
        "PROVIDER_QUOTA_EXCEEDED": "PROVIDER_QUOTA_EXCEEDED",
        "USER_DEFINED_ERROR": "USER_DEFINED_ERROR",
        "WORKFLOW_CANCELLED": "WORKFLOW_CANCELLED",
        "WORKFLOW_TIMEOUT": "WORKFLOW_TIMEOUT",
        "NODE_CANCELLED": "NODE_CANCELLED",
        "NODE_TIMEOUT": "NODE_TIMEOUT",
        "NODE_EXECUTION": "NODE_EXECUTION",
    }
)


def execution_code(code: str) -> str:
    """Return the execution's code for an event's; one that is not known stays as it is.

    Examples
    --------
    >>> execution_code("PROVIDER_ERROR")
    'LLM_PROVIDER'
    """
    return EXECUTION_CODES.get(code, code)
