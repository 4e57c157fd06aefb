"""`ticket-triage`: three releases that sort a support ticket and draft the answer.

v1 looks for keywords; v2 has learned from labelled tickets and answers with what the ticket says;
v3 takes private data out first and hands doubtful tickets to a person.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

from pydantic import Field

from vellum_nb.local import Reject
from vellum_nb.local.samples.bayes import NaiveBayes, labelled_texts
from vellum_nb.local.samples.text import stems, words
from vellum_nb.local.samples.triage_rules import (
    facts_of,
    points_of,
    redact,
    reply_to,
    word_tags,
)

__all__ = ["ticket_triage_v1", "ticket_triage_v2", "ticket_triage_v3"]

_TRAINING = Path(__file__).parent / "data" / "triage-training.csv"
_SURE_ENOUGH = 0.8  # below it a person reads the ticket
_RUSH_HOURS = 4
_HIGH_POINTS = 3

Ticket = Annotated[
    str,
    Field(
        description="the customer's message, as it came in",
        json_schema_extra={"x-multiline": True},
    ),
]
Tier = Annotated[
    Literal["free", "pro", "enterprise"], Field(description="what the customer pays for")
]
Vip = Annotated[bool, Field(description="skips the first-line queue")]
SlaHours = Annotated[float, Field(ge=1, le=72, description="hours until the first answer is due")]
Context = Annotated[
    dict[str, Any] | None, Field(description="what the CRM knows about the customer")
]


class Triage(TypedDict):
    """Outputs of every release."""

    category: str
    priority: str
    reply: str
    tags: list[str]


_KEYWORDS = (
    ("account", ("account", "password", "log in", "login", "sign in", "cancel", "e-mail", "admin")),
    ("refund", ("refund", "money back", "reimburse")),
    ("billing", ("invoice", "bill", "payment", "receipt", "vat", "price")),
    ("outage", ("outage", "down", "offline", "503", "502", "not respond", "unavailable")),
    ("bug", ("error", "crash", "bug", "broken", "does not work", "doesn't work")),
    ("how-to", ("how do", "how can", "where", "is it possible", "can i", "do you")),
)
_URGENT = ("urgent", "asap", "immediately", "emergency", "right now", "critical")


def ticket_triage_v1(ticket: Ticket, *, sla_hours: SlaHours = 24) -> Triage:
    """Sort a ticket by keywords: the first group that occurs wins."""
    low = _checked(ticket).casefold()
    category = next((name for name, keys in _KEYWORDS if any(k in low for k in keys)), "account")
    urgent = any(word in low for word in _URGENT) or category == "outage"
    relaxed = category == "how-to"
    reply = (
        f"Thanks for writing. We have received your message about your {category} "
        f"and will look into it within {sla_hours:g} hours. "
        "Please check your billing page for the current status."
    )
    return {
        "category": category,
        "priority": "high" if urgent else "low" if relaxed else "normal",
        "reply": reply,
        "tags": [tag for tag in ("card", "password", "export", "mobile") if tag in low],
    }


def ticket_triage_v2(
    ticket: Ticket, *, sla_hours: SlaHours = 24, customer_tier: Tier = "free", vip: Vip = False
) -> Triage:
    """Sort a ticket with a trained classifier and answer with what it says."""
    chances = _model_v2().probabilities(_checked(ticket))
    category = max(chances, key=lambda name: chances[name])
    facts = facts_of(ticket)
    points = points_of(category, facts) + _standing(sla_hours, customer_tier, vip=vip)
    return {
        "category": category,
        "priority": _priority(points),
        "reply": reply_to(category, facts, hours=_due(sla_hours, customer_tier, vip=vip)),
        "tags": [*word_tags(ticket), *facts.tags],
    }


def ticket_triage_v3(
    ticket: Ticket,
    *,
    sla_hours: SlaHours = 24,
    customer_tier: Tier = "free",
    vip: Vip = False,
    context: Context = None,
) -> Triage:
    """Sort a ticket without its private data, in more languages, and pass on what is doubtful."""
    safe, removed = redact(_checked(ticket))
    known = context or {}
    chances = _model_v3().probabilities(safe)
    category = "outage" if known.get("open_incident") else max(chances, key=lambda c: chances[c])
    facts = facts_of(_with_invoice(safe, known))
    tags = [*word_tags(safe), *facts.tags, *(["redacted"] if removed else [])]
    hours = _due(sla_hours, customer_tier, vip=vip)
    note = f" We took a {' and a '.join(removed)} out of your message." if removed else ""
    if chances[category] < _SURE_ENOUGH and not known.get("open_incident"):
        reply = (
            f"Thanks for writing. A colleague reads your message and answers within {hours} hours."
        )
        return {
            "category": "review",
            "priority": "normal",
            "reply": reply + note,
            "tags": [*tags, "human-review"],
        }
    points = points_of(category, facts, tone=False) + _standing(sla_hours, customer_tier, vip=vip)
    return {
        "category": category,
        "priority": _priority(points),
        "reply": reply_to(category, facts, hours=hours) + note,
        "tags": tags,
    }


def _checked(ticket: str) -> str:
    if not ticket.strip():
        msg = "the ticket is empty; nothing to sort"
        raise Reject(msg)
    return ticket


def _standing(sla_hours: float, tier: str, *, vip: bool) -> int:
    return int(vip) + int(tier == "enterprise") + int(sla_hours <= _RUSH_HOURS)


def _due(sla_hours: float, tier: str, *, vip: bool) -> int:
    limit = 4 if vip else 8 if tier == "enterprise" else 72
    return max(1, round(min(sla_hours, limit)))


def _priority(points: int) -> str:
    return "high" if points >= _HIGH_POINTS else "low" if points <= 0 else "normal"


def _with_invoice(ticket: str, known: dict[str, Any]) -> str:
    invoices = known.get("invoices")
    if isinstance(invoices, list) and invoices:
        return f"{ticket} {invoices[-1]}"
    return ticket


def _wide_features(text: str) -> list[str]:
    plain = words(text)
    pairs = [f"{first} {second}" for first, second in pairwise(plain)]
    return [*stems(text), *pairs]


@cache
def _model_v2() -> NaiveBayes:
    return NaiveBayes(labelled_texts(_TRAINING, language="en"), features=stems)


@cache
def _model_v3() -> NaiveBayes:
    return NaiveBayes(labelled_texts(_TRAINING), features=_wide_features)
