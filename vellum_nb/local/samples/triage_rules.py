"""What the later releases of `ticket-triage` read out of a ticket, and how they answer it."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Facts", "facts_of", "points_of", "redact", "reply_to", "word_tags"]

_AMOUNT = re.compile(
    r"[€$£]\s?\d(?:[\d.,]*\d)?|\b\d(?:[\d.,]*\d)?\s?(?:€|EUR\b|USD\b|GBP\b|CHF\b|euros?\b|dollars?\b)",
    re.IGNORECASE,
)
_INVOICE = re.compile(r"\b(?:INV|RE|FA|PO)[- ]?\d{3,}\b")
_E_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_LONG_NUMBER = re.compile(r"(?:\b[A-Z]{2,3}-)?\b\d(?:[ -]?\d){5,18}\b")
_SHOUTED = re.compile(r"!!|\b[A-Z]{4,}\b(?:\W+[A-Z]{3,}\b)+")

_TAG_WORDS = (
    "card",
    "invoice",
    "password",
    "export",
    "import",
    "api",
    "mobile",
    "calendar",
    "seats",
)


@dataclass(frozen=True)
class _Issue:
    tag: str
    pattern: re.Pattern[str]
    weight: int
    apology: str = ""


def _issue(tag: str, pattern: str, weight: int, apology: str = "") -> _Issue:
    return _Issue(tag, re.compile(pattern, re.IGNORECASE), weight, apology)


_ISSUES = (
    _issue(
        "double-charge",
        r"\b(?:charged?|billed|debited|paid|took|taken)\b.{0,30}\b(?:twice|two times|2x)\b"
        r"|double charge|(?:two|second) charges?",
        2,
        "you were charged twice",
    ),
    _issue(
        "wrong-invoice",
        r"(?:wrong|incorrect|correct(?:ed)?|mistake)\b.{0,40}\b(?:invoice|bill)\b"
        r"|\b(?:invoice|bill)\b.{0,40}(?:wrong|incorrect|mistake|but we|instead)",
        0,
        "the invoice is wrong",
    ),
    _issue(
        "security",
        r"hacked|phish|stranger|some(?:body|one) else|unauthori[sz]ed|leak(?:ed)?\b|breach",
        3,
        "somebody else may have had access",
    ),
    _issue(
        "locked-out",
        r"locked out|(?:can(?:not|'t)|unable to) (?:log|sign) ?(?:in|on)|reset (?:mail|link)",
        1,
        "you cannot sign in",
    ),
    _issue(
        "data-loss",
        r"\blost\b|disappeared|vanished|\bgone\b|data loss|wiped",
        2,
        "some of your data is missing",
    ),
    _issue(
        "blocked",
        r"(?:whole|entire|every|all|nobody).{0,25}(?:team|company|office|users|everyone|work)"
        r"|block(?:ed|ing)|cannot work|can't work|production|\bshop\b.{0,15}offline",
        2,
        "your work is blocked",
    ),
    _issue(
        "deadline",
        r"\b(?:before|by|until) (?:tomorrow|tonight|noon|monday|tuesday|wednesday|thursday|friday)"
        r"|\btoday\b|\btonight\b|\bdeadline\b|audit|in an hour",
        1,
    ),
    _issue(
        "unanswered",
        r"nobody (?:answers|answered|replies|replied)|no (?:answer|reply)|ignored"
        r"|(?:third|fourth|fifth) (?:mail|time|message)|still waiting|for weeks",
        1,
        "nobody answered",
    ),
    _issue("churn-risk", r"\bcancel\b(?! my old)|leave you|switch to|competitor|last chance", 1),
    _issue("legal", r"lawyer|attorney|\bcourt\b|legal action|data protection authority", 2),
    _issue(
        "no-rush", r"no rush|not urgent|no hurry|when you have (?:a )?(?:time|minute)|curious", -2
    ),
)


@dataclass(frozen=True)
class Facts:
    """What a ticket says: first amount, first invoice number, issues and how angry it sounds."""

    amount: str
    invoice: str
    issues: tuple[_Issue, ...]
    angry: bool
    by_card: bool

    @property
    def tags(self) -> list[str]:
        """Names of the issues, except the polite ones."""
        return [issue.tag for issue in self.issues if issue.weight >= 0]


def facts_of(ticket: str) -> Facts:
    """Read the facts out of a ticket.

    Examples
    --------
    >>> facts = facts_of("Charged twice: €49.00, INV-20931!!")
    >>> facts.amount, facts.invoice, facts.tags, facts.angry
    ('€49.00', 'INV-20931', ['double-charge'], True)
    """
    amount, invoice = _AMOUNT.search(ticket), _INVOICE.search(ticket)
    return Facts(
        amount=amount.group() if amount else "",
        invoice=invoice.group() if invoice else "",
        issues=tuple(issue for issue in _ISSUES if issue.pattern.search(ticket)),
        angry=bool(_SHOUTED.search(ticket)),
        by_card="card" in ticket.casefold(),
    )


def points_of(category: str, facts: Facts, *, tone: bool = True) -> int:
    """Weigh a ticket: its category, its issues and, if asked, its tone."""
    base = {"outage": 2, "bug": 1, "billing": 1, "refund": 1, "account": 1}.get(category, 0)
    return base + sum(issue.weight for issue in facts.issues) + int(tone and facts.angry)


def word_tags(ticket: str) -> list[str]:
    """Return the well-known words that a ticket mentions."""
    low = ticket.casefold()
    return [word for word in _TAG_WORDS if re.search(rf"\b{word}", low)]


def redact(ticket: str) -> tuple[str, list[str]]:
    """Take e-mail addresses and card numbers out; return the text and what was taken.

    Examples
    --------
    >>> redact("Card 4111 1111 1111 1111, mail ada@example.org")
    ('Card [number], mail [e-mail]', ['e-mail address', 'number'])
    """
    text, mails = _E_MAIL.subn("[e-mail]", ticket)
    text, numbers = _LONG_NUMBER.subn("[number]", text)
    return text, ["e-mail address"] * bool(mails) + ["number"] * bool(numbers)


def reply_to(category: str, facts: Facts, *, hours: int) -> str:
    """Write the answer: thanks, an apology that names the issues, what happens next, a pointer."""
    apologies = [issue.apology for issue in facts.issues if issue.apology]
    parts = ["Thanks for writing."]
    if apologies:
        parts.append(f"We are sorry that {' and that '.join(apologies[:2])}.")
    parts.append(_action(category, facts, hours))
    parts.append(_POINTERS[category])
    return " ".join(parts)


def _action(category: str, facts: Facts, hours: int) -> str:
    amount = f" of {facts.amount}" if facts.amount else ""
    number = f" ({facts.invoice})" if facts.invoice else ""
    place = "card" if facts.by_card else "account"
    in_time = f"within {hours} hour{'s' if hours != 1 else ''}"
    if category == "billing" and "double-charge" in facts.tags:
        return (
            f"The second charge{amount}{number} will be back on your {place} within 5 working days."
        )
    if category == "billing" and "wrong-invoice" in facts.tags:
        return f"A corrected invoice{number} reaches you {in_time}."
    actions = {
        "billing": f"We are checking the charge{amount}{number} and answer {in_time}.",
        "refund": f"The refund{amount}{number} is on its way and arrives within 5 working days.",
        "outage": f"We are working on it; the next update reaches you {in_time}.",
        "account": f"Account security writes to your registered address {in_time}.",
        "bug": f"Our engineers have your report and answer {in_time} with a fix or a detour.",
        "how-to": f"The short answer is in the handbook; what remains open we answer {in_time}.",
    }
    return actions[category]


_POINTERS = {
    "billing": "Please check your billing page for the current status.",
    "refund": "Please check your billing page for the current status.",
    "outage": "The status page shows what is affected.",
    "account": "Please do not share codes or passwords with anybody.",
    "bug": "If it happens again, a screenshot helps us.",
    "how-to": "You find it under Help, Handbook.",
}
