"""Sample deployments that do real work offline, each with a labelled set of cases.

They need no key and no network, and answer in milliseconds. Their releases differ on purpose, and
no later release is better everywhere.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from vellum_nb.local.samples.qa import docs_qa_v1, docs_qa_v2, docs_qa_v3
from vellum_nb.local.samples.summarise import summarise_v1, summarise_v2
from vellum_nb.local.samples.triage import (
    ticket_triage_v1,
    ticket_triage_v2,
    ticket_triage_v3,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vellum_nb.local import LocalServer

__all__ = ["cases", "deploy_samples", "names"]

_DATA = Path(__file__).parent / "data"
_SPACE = uuid.UUID("0d7be9c4-6f6e-4f0e-8b0e-2f6a3f5b7a10")
_EDITION = 1  # to be raised whenever a sample answers differently

# Per deployment its releases, oldest first: callable, release tags, what changed.
_SAMPLES: dict[str, tuple[tuple[Callable[..., Any], tuple[str, ...], str], ...]] = {
    "ticket-triage": (
        (ticket_triage_v1, ("v1",), "keyword rules"),
        (ticket_triage_v2, ("v2", "production"), "trained classifier, concrete replies"),
        (ticket_triage_v3, ("v3",), "redaction, more languages, human review when in doubt"),
    ),
    "docs-qa": (
        (docs_qa_v1, ("v1",), "word overlap"),
        (docs_qa_v2, ("v2", "production"), "BM25, stems and synonyms; abstains when not sure"),
        (docs_qa_v3, ("v3",), "follow-up questions, Markdown with a citation; abstains more"),
    ),
    "summarise": (
        (summarise_v1, ("v1",), "first sentences"),
        (summarise_v2, ("v2", "production"), "TextRank without repetition; paragraph or bullets"),
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of the sample deployments.

    Examples
    --------
    >>> names()
    ('ticket-triage', 'docs-qa', 'summarise')
    """
    return tuple(_SAMPLES)


def cases(name: str) -> Path:
    """Return the CSV file with the labelled cases of a sample.

    Columns named like an input hold its value (JSON text for structured ones); columns
    `expected.…` hold what a good answer has; `label` is the kind of case.

    Raises
    ------
    KeyError
        When there is no such sample; the message lists them.

    Examples
    --------
    >>> cases("ticket-triage").name
    'ticket-triage.csv'
    """
    if name not in _SAMPLES:
        msg = f"there is no sample {name!r}; there are: {', '.join(_SAMPLES)}"
        raise KeyError(msg)
    return _DATA / f"{name}.csv"


def deploy_samples(server: LocalServer) -> None:
    """Deploy every release of every sample on `server`, oldest first, with its tags.

    A deployment that is there already is left as it is. A release has the same id in every
    process, so that a history knows it again.
    """
    there = server.names()
    for name, releases in _SAMPLES.items():
        if name in there:
            continue
        for target, tags, description in releases:
            server.deploy(
                target,
                name=name,
                release_tags=tags,
                description=description,
                release_id=str(uuid.uuid5(_SPACE, f"{_EDITION}/{name}/{tags[0]}")),
            )
