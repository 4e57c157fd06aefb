"""Events as spans, and what models used in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    NODE_INITIATED,
    NODE_REJECTED,
    WORKFLOW_FULFILLED,
    WORKFLOW_INITIATED,
    Event,
    Usage,
)
from vellum_nb.local.routes.executions import spans_of, usage_body

START = datetime(2026, 1, 31, tzinfo=UTC)


def event(name: str, span: str, second: int, inside: tuple[str, str] | None = None, **more: Any):
    parent = None if inside is None else {"type": inside[0], "span_id": inside[1]}
    return Event(
        name,
        span,
        "trace",
        more.pop("body", {}),
        parent=parent,
        timestamp=START + timedelta(seconds=second),
        **more,
    )


def test_spans_come_in_the_order_in_which_they_began_with_what_they_ran_in():
    spans = spans_of(
        [
            event(WORKFLOW_INITIATED, "run", 0, ("WORKFLOW_RELEASE_TAG", "tag")),
            event(NODE_INITIATED, "map", 1, ("WORKFLOW", "run")),
            event(WORKFLOW_INITIATED, "inner", 2, ("WORKFLOW_NODE", "map")),
            event(NODE_INITIATED, "leaf", 3, ("WORKFLOW", "inner")),
            event(NODE_REJECTED, "leaf", 4),
            event(WORKFLOW_FULFILLED, "inner", 5),
            event(NODE_FULFILLED, "map", 6),
            event(WORKFLOW_FULFILLED, "run", 7),
        ]
    )
    assert [(span["span_id"], span["name"], span["parent_span_id"]) for span in spans] == [
        ("run", "workflow.execution", None),
        ("map", "node.execution", "run"),
        ("inner", "workflow.execution", "map"),
        ("leaf", "node.execution", "inner"),
    ]
    first, last = spans[0], spans[-1]
    assert (first["start_ts"], first["end_ts"]) == (
        "2026-01-31T00:00:00+00:00",
        "2026-01-31T00:00:07+00:00",
    )
    assert last["end_ts"] == "2026-01-31T00:00:04+00:00"


def test_a_span_tells_what_its_models_used():
    (span,) = spans_of(
        [event(NODE_FULFILLED, "a", 0, usage=(Usage("m", 3, 4, 0.5), Usage("m", 1, 1, 0.25)))]
    )
    assert span["usage_result"] == {
        "usage": [
            {
                "ml_model_name": "m",
                "ml_model_usage": {"input_token_count": 4, "output_token_count": 5},
            }
        ],
        "cost": [{"value": 0.75, "unit": "USD"}],
    }
    assert spans_of([event(NODE_FULFILLED, "a", 0)])[0]["usage_result"] is None


@pytest.mark.parametrize(
    ("usage", "tokens", "cost"),
    [
        ([Usage("m", 3, 4, 0.5), Usage("m", None, 1, None)], [("m", None, 5)], []),
        (
            [Usage("a", 1, 2, 0.0), Usage("b", 3, 4, 0.5)],
            [("a", 1, 2), ("b", 3, 4)],
            [{"value": 0.5, "unit": "USD"}],
        ),
    ],
)
def test_a_figure_that_is_known_in_part_is_not_known(usage, tokens, cost):
    body = usage_body(usage)
    assert body is not None
    found = [(each["ml_model_name"], *each["ml_model_usage"].values()) for each in body["usage"]]
    assert found == tokens
    assert body["cost"] == cost
