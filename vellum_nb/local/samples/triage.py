"""`ticket-triage`: three releases that sort a support ticket and draft the answer."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

from pydantic import Field

from vellum_nb.local.samples.text import field, not_empty, stems, words

_TRAINING = Path(__file__).parent / "data" / "triage-training.csv"
_SURE_ENOUGH = 0.8  # probability; below it, a person reads the ticket
_RUSH_HOURS = 4
_HIGH_POINTS = 3
_checked = partial(not_empty, message="the ticket is empty; nothing to sort", wordless=True)

_AMOUNT = re.compile(
    r"[€$£]\s?\d(?:[\d.,]*\d)?|\b\d(?:[\d.,]*\d)?\s?(?:€|EUR\b|USD\b|GBP\b|CHF\b|euros?\b|dollars?\b)",
    re.IGNORECASE,
)
_INVOICE = re.compile(r"\b(?:INV|RE|FA|PO)[- ]?\d{3,}\b")
_E_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_LONG_NUMBER = re.compile(r"(?:\b[A-Z]{2,3}-)?\b\d(?:[ -]?\d){5,18}\b")
_SHOUTED = re.compile(r"!!|\b[A-Z]{4,}\b(?:\W+[A-Z]{3,}\b)+")

_TAGS = ["card", "invoice", "password", "export", "import", "api", "mobile", "calendar", "seats"]


class _Issue(NamedTuple):
    tag: str
    weight: int
    apology: str
    pattern: str


_ISSUES = tuple(
    _Issue(tag, weight, apology, "|".join(patterns))
    for tag, weight, apology, *patterns in (
        (
            *("double-charge", 2, "you were charged twice"),
            r"\b(?:charged?|billed|debited|paid|took|taken)\b.{0,30}\b(?:twice|two times|2x)\b",
            r"double charge|(?:two|second) charges?",
        ),
        (
            *("wrong-invoice", 0, "the invoice is wrong"),
            r"(?:wrong|incorrect|correct(?:ed)?|mistake)\b.{0,40}\b(?:invoice|bill)\b",
            r"\b(?:invoice|bill)\b.{0,40}(?:wrong|incorrect|mistake|but we|instead)",
        ),
        (
            *("security", 3, "somebody else may have had access"),
            r"hacked|phish|stranger|some(?:body|one) else|unauthori[sz]ed|leak(?:ed)?\b|breach",
        ),
        (
            *("locked-out", 1, "you cannot sign in"),
            r"locked out|(?:can(?:not|'t)|unable to) (?:log|sign) ?(?:in|on)|reset (?:mail|link)",
        ),
        (
            *("data-loss", 2, "some of your data is missing"),
            r"\blost\b|disappeared|vanished|\bgone\b|data loss|wiped",
        ),
        (
            *("blocked", 2, "your work is blocked"),
            r"(?:whole|entire|every|all|nobody).{0,25}(?:team|company|office|users|everyone|work)",
            r"block(?:ed|ing)|cannot work|can't work|production|\bshop\b.{0,15}offline",
        ),
        (
            *("deadline", 1, ""),
            r"\b(?:before|by|until) (?:tomorrow|tonight|noon)|\btoday\b|\btonight\b|\bdeadline\b",
            r"\b(?:before|by|until) (?:mon|tues|wednes|thurs|fri)day|audit|in an hour",
        ),
        (
            *("unanswered", 1, "nobody answered"),
            r"nobody (?:answers|answered|replies|replied)|no (?:answer|reply)|ignored",
            r"(?:third|fourth|fifth) (?:mail|time|message)|still waiting|for weeks",
        ),
        ("churn-risk", 1, "", r"\bcancel\b(?! my old)|leave you|switch to|competitor|last chance"),
        ("legal", 2, "", r"lawyer|attorney|\bcourt\b|legal action|data protection authority"),
        (
            *("no-rush", -2, ""),
            r"no rush|not urgent|no hurry|when you have (?:a )?(?:time|minute)|curious",
        ),
    )
)
_BASE_POINTS = {"outage": 2, "bug": 1, "billing": 1, "refund": 1, "account": 1}


_BILLING_PAGE = "Please check your billing page for the current status."
_POINTERS = {
    **dict.fromkeys(("billing", "refund"), _BILLING_PAGE),
    "outage": "The status page shows what is affected.",
    "account": "Please do not share codes or passwords with anybody.",
    "bug": "If it happens again, a screenshot helps us.",
    "how-to": "You find it under Help, Handbook.",
}


Ticket = Annotated[str, field("the customer's message, as it came in", long=True)]
_Tiers = Literal["free", "pro", "enterprise"]
Tier = Annotated[_Tiers, Field(description="what the customer pays for")]
Vip = Annotated[bool, Field(description="skips the first-line queue")]
SlaHours = Annotated[float, Field(ge=1, le=72, description="hours until the first answer is due")]
_Known = dict[str, Any] | None
Context = Annotated[_Known, Field(description="what the CRM knows about the customer")]


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
    return {
        "category": category,
        "priority": "high" if urgent else "low" if category == "how-to" else "normal",
        "reply": f"Thanks for writing. We have received your message about your {category} "
        f"and will look into it within {sla_hours:g} hours. {_BILLING_PAGE}",
        "tags": [tag for tag in ("card", "password", "export", "mobile") if tag in low],
    }


def ticket_triage_v2(
    ticket: Ticket, *, sla_hours: SlaHours = 24, customer_tier: Tier = "free", vip: Vip = False
) -> Triage:
    """Sort a ticket with a trained classifier and answer by its category."""
    chances = _model_v2().probabilities(_checked(ticket))
    category = max(chances, key=lambda name: chances[name])
    hours, points = _urgency(sla_hours, customer_tier, vip=vip)
    return _answer(
        category, ticket, _word_tags(ticket), hours, points + bool(_SHOUTED.search(ticket))
    )


def ticket_triage_v3(
    ticket: Ticket,
    *,
    sla_hours: SlaHours = 24,
    customer_tier: Tier = "free",
    vip: Vip = False,
    context: Context = None,
) -> Triage:
    """Sort a redacted ticket, in more languages; leave doubtful ones to a person."""
    safe, mails = _E_MAIL.subn("[e-mail]", _checked(ticket))
    safe, numbers = _LONG_NUMBER.subn("[number]", safe)
    removed = ["e-mail address"] * bool(mails) + ["number"] * bool(numbers)
    note = f" We took a {' and a '.join(removed)} out of your message." if removed else ""
    facts = context or {}
    chances = _model_v3().probabilities(safe)
    category = "outage" if facts.get("open_incident") else max(chances, key=lambda c: chances[c])
    invoices = facts.get("invoices")
    number = f" {invoices[-1]}" if isinstance(invoices, list) and invoices else ""
    hours, points = _urgency(sla_hours, customer_tier, vip=vip)
    answer = _answer(category, safe + number, _word_tags(safe), hours, points)
    answer["tags"] += ["redacted"] * bool(removed)
    if chances[category] < _SURE_ENOUGH and not facts.get("open_incident"):
        reply = (
            f"Thanks for writing. A colleague reads your message and answers within {hours} hours."
        )
        tags = [*answer["tags"], "human-review"]
        answer = {"category": "review", "priority": "normal", "reply": reply, "tags": tags}
    return {**answer, "reply": answer["reply"] + note}


def _answer(category: str, ticket: str, tags: list[str], hours: int, points: int) -> Triage:
    """Return a reply with thanks, an apology for the issues, the next action, and a pointer."""
    issues = [issue for issue in _ISSUES if re.search(issue.pattern, ticket, re.IGNORECASE)]
    points += _BASE_POINTS.get(category, 0) + sum(issue.weight for issue in issues)
    names = [issue.tag for issue in issues if issue.weight >= 0]
    amount = f" of {match.group()}" if (match := _AMOUNT.search(ticket)) else ""
    about = f"{amount} ({match.group()})" if (match := _INVOICE.search(ticket)) else amount
    in_time = f"within {hours} hour{'s' if hours != 1 else ''}"
    action = {
        "billing": f"We are checking the charge{about} and answer {in_time}.",
        "refund": f"The refund{about} is on its way and arrives within 5 working days.",
        "outage": f"We are working on it; the next update reaches you {in_time}.",
        "account": f"Account security writes to your registered address {in_time}.",
        "bug": f"Our engineers have your report and answer {in_time} with a fix or a detour.",
        "how-to": f"The short answer is in the handbook; what remains open we answer {in_time}.",
    }[category]
    if category == "billing" and "double-charge" in names:
        place = "card" if "card" in ticket.casefold() else "account"
        action = f"The second charge{about} will be back on your {place} within 5 working days."
    elif category == "billing" and "wrong-invoice" in names:
        action = f"A corrected invoice{about.removeprefix(amount)} reaches you {in_time}."
    apologies = [issue.apology for issue in issues if issue.apology]
    sorry = f"We are sorry that {' and that '.join(apologies[:2])}. " if apologies else ""
    return {
        "category": category,
        "priority": "high" if points >= _HIGH_POINTS else "low" if points <= 0 else "normal",
        "reply": f"Thanks for writing. {sorry}{action} {_POINTERS[category]}",
        "tags": [*tags, *names],
    }


def _word_tags(ticket: str) -> list[str]:
    return [word for word in _TAGS if re.search(rf"\b{word}", ticket.casefold())]


def _urgency(sla_hours: float, tier: str, *, vip: bool) -> tuple[int, int]:
    """Return the hours until an answer is due, and the points for the customer."""
    limit = 4 if vip else 8 if tier == "enterprise" else 72
    points = int(vip) + int(tier == "enterprise") + int(sla_hours <= _RUSH_HOURS)
    return max(1, round(min(sla_hours, limit))), points


class _Model:
    """Multinomial naive Bayes with add-half smoothing over the features of the training texts."""

    def __init__(self, features: Callable[[str], Sequence[str]], *, languages: str) -> None:
        self._features = features
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        sizes: Counter[str] = Counter()
        with _TRAINING.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if languages in {"all", row["language"]}:
                    sizes[row["category"]] += 1
                    self._counts[row["category"]].update(features(row["text"]))
        self._known = frozenset().union(*self._counts.values())
        self._priors = {label: math.log(size / sizes.total()) for label, size in sizes.items()}

    def probabilities(self, text: str) -> dict[str, float]:
        """Return the probability of each label; long texts are tempered, unknown words ignored."""
        seen = [feature for feature in self._features(text) if feature in self._known]
        calm = max(1.0, math.sqrt(len(seen) / 4))
        scores: dict[str, float] = {}
        for label, prior in self._priors.items():
            counts = self._counts[label]
            size = counts.total() + len(self._known) / 2
            scores[label] = (prior + sum(math.log((counts[f] + 0.5) / size) for f in seen)) / calm
        best = max(scores.values())
        weights = {label: math.exp(score - best) for label, score in scores.items()}
        total = sum(weights.values())
        return {label: weight / total for label, weight in weights.items()}


def _with_pairs(text: str) -> list[str]:
    return [*stems(text), *(f"{first} {second}" for first, second in pairwise(words(text)))]


_model_v2 = cache(partial(_Model, stems, languages="en"))
_model_v3 = cache(partial(_Model, _with_pairs, languages="all"))
