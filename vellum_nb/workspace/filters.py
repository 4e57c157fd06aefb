"""The filters that the API takes when executions are listed. Pure."""

from __future__ import annotations

from typing import Any

__all__ = ["all_of"]


def all_of(*conditions: tuple[str, str, str]) -> dict[str, Any]:
    """Return the filter of executions for which all `conditions` hold.

    Parameters
    ----------
    conditions
        Field, operator, value.

    Examples
    --------
    >>> (condition,) = all_of(("external_id", "==", "run-1"))["conditions"]
    >>> condition["lhs_variable"], condition["rhs_variable"]["value"]
    ({'type': 'STRING', 'value': 'external_id'}, 'run-1')
    """
    return {
        "type": "LOGICAL_CONDITION_GROUP",
        "combinator": "AND",
        "negated": False,
        "conditions": [
            {
                "type": "LOGICAL_CONDITION",
                "lhs_variable": {"type": "STRING", "value": field},
                "operator": operator,
                "rhs_variable": {"type": "STRING", "value": value},
            }
            for field, operator, value in conditions
        ],
    }
