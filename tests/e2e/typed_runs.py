"""Two runs with outputs of every type, recorded for a notebook to compare."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import vellum_nb as vnb

TYPES = {
    "reply": "STRING", "score": "NUMBER", "order": "JSON", "tags": "JSON",
    "chat": "CHAT_HISTORY", "hits": "SEARCH_RESULTS", "call": "FUNCTION_CALL", "parts": "ARRAY",
    "picture": "IMAGE", "answer": "STRING",
}  # fmt: skip
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABAAAAAQAQMAAAAlPW0iAAAABlBMVEUAAAD///+l2Z/dAAAA"
    "DklEQVQI12P4AIX8EAgALgAD/aNpbtEAAAAASUVORK5CYII="
)
TERMS = "".join(f"Line {n} of the terms.\n" for n in range(80))
QUESTION = {"role": "USER", "text": "Where is my order?"}


def hit(name: str, score: float) -> dict[str, Any]:
    text = f"What {name} says about refunds."
    return {"text": text, "score": score, "document": {"label": name}}


def part(sku: str) -> dict[str, Any]:
    return {"id": sku, "name": f"part {sku}", "price": 12.5}


OUTPUTS: dict[str, dict[str, Any]] = {
    "v1": {
        "reply": f"We will look into it.\n{TERMS}Bye.",
        "score": 0.5,
        "order": {"customer": "Ann", "lines": [part("a"), part("b"), part("c")], "paid": False},
        "tags": ["card"],
        "chat": [QUESTION, {"role": "ASSISTANT", "text": "We will look into it."}],
        "hits": [hit("faq.md", 0.9), hit("terms.md", 0.7)],
        "call": {"name": "refund", "arguments": {"sum": 40, "to": "ann"}},
        "parts": [{"type": "STRING", "value": "see below"}, {"type": "NUMBER", "value": 3}],
        "picture": {"src": "https://example.com/a.png"},
        "answer": "All is well",
    },
    "v2": {
        "reply": f"We looked into it.\n{TERMS}Goodbye.",
        "score": 0.8,
        "order": {"customer": "Ann", "lines": [part("c"), part("a"), part("d")], "paid": True},
        "tags": ["card", "risk"],
        "chat": [
            QUESTION,
            {"role": "ASSISTANT", "text": "We looked into it."},
            {"role": "USER", "text": "Thanks"},
        ],
        "hits": [hit("terms.md", 0.95), hit("faq.md", 0.9), hit("new.md", 0.2)],
        "call": {"name": "refund", "arguments": {"sum": 45, "to": "ann"}},
        "parts": [{"type": "STRING", "value": "see above"}, {"type": "NUMBER", "value": 5}],
        "picture": {"src": PNG},
        "answer": {"code": "NODE_EXECUTION", "message": "the step broke"},
    },
}


def record(path: str) -> None:
    """Record both runs in the history at `path`."""
    with vnb.History(path) as history:
        for tag, outputs in OUTPUTS.items():
            started = vnb.Run(
                id=tag,
                deployment="orders",
                release_tag=tag,
                timestamp=datetime(2026, 11, 25, tzinfo=UTC),
                inputs={"ticket": "Where is my order?"},
                case_id="c",
            )
            history.begin(started)
            types = TYPES | ({"answer": "ERROR"} if tag == "v2" else {})
            ended = {"state": "FULFILLED", "outputs": outputs, "output_types": types}
            history.finish(started.model_copy(update=ended))
