"""`support-bot`: two releases of a chatbot, one of which is forgetful, and a user to talk to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Literal, TypedDict

from vellum_nb.local.samples.text import field, not_empty
from vellum_nb.local.types import State

_checked = partial(not_empty, message="the message is empty; nothing to answer")

_ORDER = re.compile(r"\b[A-Z]-?\d{4,6}\b", re.IGNORECASE)
_PATTERNS = {
    ("problem", "damaged"): r"\b(?:broken|damaged|cracked|shattered|defective)\b",
    ("problem", "late"): r"\b(?:late|never arrived|not arrived|still waiting|where is)\b",
    ("problem", "wrong item"): r"\bwrong (?:item|colou?r|size|one|product)\b",
    ("wish", "refund"): r"\b(?:refund|money back)\b",
    ("wish", "replacement"): r"\b(?:replacement|new one|send (?:me )?another|exchange)\b",
}
_MORE_PATTERNS = {
    ("problem", "damaged"): r"\b(?:stopped working|does not work)\b",
    ("wish", "refund"): r"\bpaid back\b",
    ("wish", "replacement"): r"\bswap\b",
}
_QUESTIONS = {
    "order": "Which order is it? The number is like A-1234.",
    "problem": "What is the matter with it?",
    "wish": "Do you prefer a refund or a replacement?",
}

Message = Annotated[str, field("what the customer writes next", long=True)]


class Answer(TypedDict):
    """Outputs of both releases."""

    reply: str
    status: str


def support_bot_v1(message: Message, state: State) -> Answer:
    """Collect order, problem and wish over the whole conversation."""
    state.update(_facts(message, [_PATTERNS]))
    return _answer(state)


def support_bot_v2(message: Message, state: State) -> Answer:
    """Understand more words and confirm them, but keep only those of the last two messages."""
    said = _facts(message, [_PATTERNS, _MORE_PATTERNS])
    facts = {**state.get("last", {}), **said}
    state["last"] = said
    answer = _answer(facts)
    if said:
        noted = " and ".join(f"{name} {value}" for name, value in said.items())
        answer["reply"] = f"Thanks, I noted {noted}. {answer['reply']}"
    return answer


def _facts(message: str, patterns: Sequence[Mapping[tuple[str, str], str]]) -> dict[str, str]:
    """Return what a message says about an order."""
    order = _ORDER.search(_checked(message))
    facts = {"order": order[0].upper()} if order else {}
    for each in patterns:
        for (name, value), pattern in each.items():
            if re.search(pattern, message, re.IGNORECASE):
                facts.setdefault(name, value)
    return facts


def _answer(facts: Mapping[str, str]) -> Answer:
    """Ask for the first missing fact, or close the case."""
    missing = next((name for name in _QUESTIONS if name not in facts), None)
    if missing is not None:
        return {"reply": _QUESTIONS[missing], "status": f"asks for {missing}"}
    wish, order = facts["wish"], f"order {facts['order']} ({facts['problem']})"
    return {"reply": f"Your {wish} for {order} is on its way.", "status": wish}


class Said(TypedDict):
    """Outputs of the simulated user."""

    message: str
    done: bool


def angry_customer(
    transcript: str, goal: Literal["refund", "replacement"] = "refund", order: str = "A-1234"
) -> Said:
    """Write what a customer of `support-bot` says next, until the goal is reached."""
    reply = transcript.rpartition("Assistant: ")[2]
    answers = {
        _QUESTIONS["order"]: f"The order is {order}!",
        _QUESTIONS["problem"]: "It is broken!",
        _QUESTIONS["wish"]: f"A {goal}, of course!",
        "on its way": "",
    }
    answer = next((text for words, text in answers.items() if words in reply), "I need help!")
    is_repeated = bool(answer) and f"User: {answer}" in transcript
    return {"message": f"Again: {answer}" if is_repeated else answer, "done": not answer}
