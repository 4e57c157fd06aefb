"""Sample deployments that do real work offline, each with a labelled set of cases.

They need no key and no network, and answer in milliseconds. Their releases differ on purpose, and
no later release is better everywhere.
"""

from __future__ import annotations

import importlib.util
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from vellum_nb.local.deployments.releases import Declared
from vellum_nb.local.samples.qa import docs_qa_v1, docs_qa_v2, docs_qa_v3
from vellum_nb.local.samples.summarise import summarise_v1, summarise_v2
from vellum_nb.local.samples.triage import ticket_triage_v1, ticket_triage_v2, ticket_triage_v3
from vellum_nb.models import VellumVariable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from vellum_nb.local import LocalServer

__all__ = ["PROJECTS", "declared", "cases", "deploy_samples", "names"]

PROJECTS = Path(__file__).parent / "projects"
_DATA = Path(__file__).parent / "data"
_SPACE = uuid.UUID("0d7be9c4-6f6e-4f0e-8b0e-2f6a3f5b7a10")
_EDITION = 1  # to be raised whenever a sample answers differently

# Per deployment its releases, oldest first: callable or project, release tags, what changed.
_SAMPLES: dict[str, tuple[tuple[Callable[..., Any] | Path, tuple[str, ...], str], ...]] = {
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
        (PROJECTS / "feedback-digest" / "v1", ("v1",), "a map over comments, word by word"),
        (
            PROJECTS / "feedback-digest" / "v2",
            ("v2", "production"),
            "understands not and never; complaints first",
        ),
    ),
}


def names() -> tuple[str, ...]:
    """Return the names of the sample deployments.

    ``feedback-digest`` is a Workflows SDK project, and there with the extra ``sdk`` only.

    Examples
    --------
    >>> names()[:3]
    ('ticket-triage', 'docs-qa', 'summarise')
    """
    return tuple(name for name in _SAMPLES if _can_run(name))


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
    for name in names():
        if name in there:
            continue
        for target, tags, description in _SAMPLES[name]:
            server.deploy(
                target,
                name=name,
                release_tags=tags,
                description=description,
                release_id=str(uuid.uuid5(_SPACE, f"{_EDITION}/{name}/{tags[0]}")),
                declared=declared(target) if isinstance(target, Path) else None,
            )


def _can_run(name: str) -> bool:
    is_project = any(isinstance(target, Path) for target, _, _ in _SAMPLES[name])
    return not is_project or sdk_is_installed()


def sdk_is_installed() -> bool:
    """Return whether such a project can run here; nothing is imported for it."""
    return importlib.util.find_spec("vellum") is not None


def declared(folder: Path) -> Declared:
    """Return what the release in `folder` declares.

    Examples
    --------
    >>> variables = declared(PROJECTS / "feedback-digest" / "v1").input_variables
    >>> [variable.key for variable in variables]
    ['comments', 'product']
    """
    found = json.loads(folder.with_suffix(".json").read_text(encoding="utf-8"))
    inputs, outputs = (
        tuple(VellumVariable.model_validate(each) for each in found[key])
        for key in ("input_variables", "output_variables")
    )
    return Declared(inputs, outputs, found["summary"])
