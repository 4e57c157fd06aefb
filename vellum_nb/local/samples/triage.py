"""`ticket-triage`: three releases that sort a support ticket and draft the answer."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

from pydantic import Field

from vellum_nb.local.refusals import Reject
from vellum_nb.local.samples.text import stems, words


class NaiveBayes:
    """Multinomial naive Bayes with add-half smoothing.

    It learns from (label, text) pairs; `features` turns a text into what is counted.
    """

    def __init__(
        self, examples: Iterable[tuple[str, str]], *, features: Callable[[str], Sequence[str]]
    ) -> None:
        self._features = features
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        sizes: Counter[str] = Counter()
        for label, text in examples:
            sizes[label] += 1
            self._counts[label].update(features(text))
        self._known = frozenset().union(*self._counts.values())
        self._priors = {label: math.log(size / sizes.total()) for label, size in sizes.items()}

    def probabilities(self, text: str) -> dict[str, float]:
        """Return the probability of each label; long texts are tempered, words unseen ignored."""
        seen = [feature for feature in self._features(text) if feature in self._known]
        calm = max(1.0, math.sqrt(len(seen) / 4))
        scores: dict[str, float] = {}
        for label, prior in self._priors.items():
            counts = self._counts[label]
            size = counts.total() + len(self._known) / 2
            scores[label] = (prior + sum(math.log((counts[f] + 0.5) / size) for f in seen)) / calm
        best = max(scores.values())
        weights = {label: math.exp(score - best) for label, score in scores.items()}
        whole = sum(weights.values())
        return {label: weight / whole for label, weight in weights.items()}


def labelled_texts(path: Path, *, language: str | None = None) -> list[tuple[str, str]]:
    """Read (label, text) pairs from a CSV file with the columns label, text, language."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [(label, text) for label, text, spoken in rows if language in {None, spoken}]


_AMOUNT = re.compile(
    r"[€$£]\s?\d(?:[\d.,]*\d)?|\b\d(?:[\d.,]*\d)?\s?(?:€|EUR\b|USD\b|GBP\b|CHF\b|euros?\b|dollars?\b)",
    re.IGNORECASE,
)
_INVOICE = re.compile(r"\b(?:INV|RE|FA|PO)[- ]?\d{3,}\b")
_E_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_LONG_NUMBER = re.compile(r"(?:\b[A-Z]{2,3}-)?\b\d(?:[ -]?\d){5,18}\b")
_SHOUTED = re.compile(r"!!|\b[A-Z]{4,}\b(?:\W+[A-Z]{3,}\b)+")

_TAG_WORDS = [
    "card",
    "invoice",
    "password",
    "export",
    "import",
    "api",
    "mobile",
    "calendar",
    "seats",
]


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


class Facts:
    """What a ticket says: first amount, first invoice number, issues and how angry it sounds."""

    def __init__(self, ticket: str) -> None:
        amount, invoice = _AMOUNT.search(ticket), _INVOICE.search(ticket)
        self.amount = amount.group() if amount else ""
        self.invoice = invoice.group() if invoice else ""
        self.issues = [each for each in _ISSUES if re.search(each.pattern, ticket, re.IGNORECASE)]
        self.tags = [issue.tag for issue in self.issues if issue.weight >= 0]
        self.angry = bool(_SHOUTED.search(ticket))
        self.by_card = "card" in ticket.casefold()


def reply_to(category: str, facts: Facts, *, hours: int) -> str:
    """Write the answer: thanks, an apology that names the issues, what happens next, a pointer."""
    amount = f" of {facts.amount}" if facts.amount else ""
    number = f" ({facts.invoice})" if facts.invoice else ""
    in_time = f"within {hours} hour{'s' if hours != 1 else ''}"
    place = "card" if facts.by_card else "account"
    action = {
        "billing": f"We are checking the charge{amount}{number} and answer {in_time}.",
        "refund": f"The refund{amount}{number} is on its way and arrives within 5 working days.",
        "outage": f"We are working on it; the next update reaches you {in_time}.",
        "account": f"Account security writes to your registered address {in_time}.",
        "bug": f"Our engineers have your report and answer {in_time} with a fix or a detour.",
        "how-to": f"The short answer is in the handbook; what remains open we answer {in_time}.",
    }[category]
    if category == "billing" and "double-charge" in facts.tags:
        charge = f"The second charge{amount}{number}"
        action = f"{charge} will be back on your {place} within 5 working days."
    elif category == "billing" and "wrong-invoice" in facts.tags:
        action = f"A corrected invoice{number} reaches you {in_time}."
    apologies = [issue.apology for issue in facts.issues if issue.apology]
    sorry = f"We are sorry that {' and that '.join(apologies[:2])}. " if apologies else ""
    return f"Thanks for writing. {sorry}{action} {_POINTERS[category]}"


_POINTERS = {
    "billing": "Please check your billing page for the current status.",
    "refund": "Please check your billing page for the current status.",
    "outage": "The status page shows what is affected.",
    "account": "Please do not share codes or passwords with anybody.",
    "bug": "If it happens again, a screenshot helps us.",
    "how-to": "You find it under Help, Handbook.",
}


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
    facts = Facts(ticket)
    tags = [*_word_tags(ticket), *facts.tags]
    hours, urgency = _urgency(sla_hours, customer_tier, vip=vip)
    return _answer(category, facts, tags, hours, urgency + facts.angry)


def ticket_triage_v3(
    ticket: Ticket,
    *,
    sla_hours: SlaHours = 24,
    customer_tier: Tier = "free",
    vip: Vip = False,
    context: Context = None,
) -> Triage:
    """Sort a ticket without its private data, in more languages, and pass on what is doubtful."""
    safe, mails = _E_MAIL.subn("[e-mail]", _checked(ticket))
    safe, numbers = _LONG_NUMBER.subn("[number]", safe)
    removed = ["e-mail address"] * bool(mails) + ["number"] * bool(numbers)
    note = f" We took a {' and a '.join(removed)} out of your message." if removed else ""
    known = context or {}
    chances = _model_v3().probabilities(safe)
    category = "outage" if known.get("open_incident") else max(chances, key=lambda c: chances[c])
    invoices = known.get("invoices")
    number = f" {invoices[-1]}" if isinstance(invoices, list) and invoices else ""
    facts = Facts(safe + number)
    tags = [*_word_tags(safe), *facts.tags, *["redacted"] * bool(removed)]
    hours, urgency = _urgency(sla_hours, customer_tier, vip=vip)
    if chances[category] < _SURE_ENOUGH and not known.get("open_incident"):
        reply = f"A colleague reads your message and answers within {hours} hours."
        return {
            "category": "review",
            "priority": "normal",
            "reply": f"Thanks for writing. {reply}{note}",
            "tags": [*tags, "human-review"],
        }
    answer = _answer(category, facts, tags, hours, urgency)
    return {**answer, "reply": answer["reply"] + note}


def _answer(category: str, facts: Facts, tags: list[str], hours: int, points: int) -> Triage:
    points += _BASE_POINTS.get(category, 0) + sum(issue.weight for issue in facts.issues)
    return {
        "category": category,
        "priority": "high" if points >= _HIGH_POINTS else "low" if points <= 0 else "normal",
        "reply": reply_to(category, facts, hours=hours),
        "tags": tags,
    }


def _checked(ticket: str) -> str:
    if not ticket.strip():
        msg = "the ticket is empty; nothing to sort"
        raise Reject(msg)
    return ticket


def _word_tags(ticket: str) -> list[str]:
    low = ticket.casefold()
    return [word for word in _TAG_WORDS if re.search(rf"\b{word}", low)]


def _urgency(sla_hours: float, tier: str, *, vip: bool) -> tuple[int, int]:
    """Return in how many hours an answer is due, and how much the customer adds to the points."""
    limit = 4 if vip else 8 if tier == "enterprise" else 72
    points = int(vip) + int(tier == "enterprise") + int(sla_hours <= _RUSH_HOURS)
    return max(1, round(min(sla_hours, limit))), points


@cache
def _model_v2() -> NaiveBayes:
    return NaiveBayes(labelled_texts(_TRAINING, language="en"), features=stems)


@cache
def _model_v3() -> NaiveBayes:
    def features(text: str) -> list[str]:
        return [*stems(text), *(f"{first} {second}" for first, second in pairwise(words(text)))]

    return NaiveBayes(labelled_texts(_TRAINING), features=features)
