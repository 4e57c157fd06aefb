"""Sample deployments that do real work offline, each with labelled cases, a judge and a user.

They need no key and no network, and answer in milliseconds. Their releases differ on purpose, and
no later release is better everywhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vellum_nb.local.deployments.registry import Declared, DeclaredProject
from vellum_nb.local.samples.grading import pair_grader
from vellum_nb.local.samples.naming import failure_namer as failure_namer
from vellum_nb.local.samples.qa import docs_qa_v1, docs_qa_v2, docs_qa_v3
from vellum_nb.local.samples.summarise import summarise_v1, summarise_v2
from vellum_nb.local.samples.support import angry_customer, support_bot_v1, support_bot_v2
from vellum_nb.local.samples.triage import ticket_triage_v1, ticket_triage_v2, ticket_triage_v3
from vellum_nb.models.checks import available

_DATA = Path(__file__).parent / "data"
_PROJECT = Path(__file__).parent / "projects" / "feedback-digest"
_ID_SPACE = uuid.UUID("0d7be9c4-6f6e-4f0e-8b0e-2f6a3f5b7a10")
_EDITION = 1  # increase it if the answers of a sample change
_JUDGE, _USER = "pair-grader", "angry-customer"

# Per deployment its releases, oldest first: callable (None: the project), tags, what changed.
_SAMPLES: dict[str, tuple[tuple[Callable[..., Any] | None, tuple[str, ...], str], ...]] = {
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
    "feedback-digest": (
        (None, ("v1",), "a map over comments, word by word"),
        (None, ("v2", "production"), "understands not and never; complaints first"),
    ),
    "support-bot": (
        (support_bot_v1, ("v1", "production"), "remembers the whole conversation"),
        (support_bot_v2, ("v2",), "confirms what it understood"),
    ),
    _JUDGE: ((pair_grader, ("v1", "production"), "prefers concrete replies"),),
    _USER: ((angry_customer, ("v1", "production"), "answers questions about one order"),),
}


def names() -> tuple[str, ...]:
    """Return the names of the sample deployments that have cases: without judge and user.

    ``feedback-digest`` is a Workflows SDK project: its runs are rejected without the extra ``sdk``.
    """
    return tuple(name for name in _SAMPLES if name not in {_JUDGE, _USER})


def cases(name: str) -> Path:
    """Return the CSV file with the labelled cases of a sample.

    Columns with the name of an input contain its value (JSON if structured), columns `expected.…`
    the expected output, and `label` the kind of case.
    """
    if name not in names():
        msg = f"unknown sample {name!r}{available(names())}"
        raise KeyError(msg)
    return _DATA / f"{name}.csv"


def project_files(tag: str) -> Mapping[str, bytes]:
    """Return the files of a release of ``feedback-digest``: v2 replaces some of v1's."""
    folders = [_PROJECT / release for release in ("v1", "v2") if release <= tag]
    return {path.name: path.read_bytes() for folder in folders for path in folder.glob("*.py")}


def declared(tag: str) -> Declared:
    """Return the stored variables of a release of ``feedback-digest``, without the slow SDK."""
    return TypeAdapter(Declared).validate_json((_PROJECT / f"{tag}.json").read_bytes())


def deploy_samples(server: Any) -> None:
    """Deploy all releases of missing samples on `server`, with the same ids in every process."""
    for name in [sample for sample in (*names(), _JUDGE, _USER) if sample not in server.names()]:
        for target, tags, description in _SAMPLES[name]:
            server.deploy(
                target or DeclaredProject(project_files(tags[0]), declared(tags[0])),
                name=name,
                release_tags=tags,
                description=description,
                release_id=str(uuid.uuid5(_ID_SPACE, f"{_EDITION}/{name}/{tags[0]}")),
            )
