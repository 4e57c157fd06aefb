"""`docs-qa`: three releases that answer questions from a small handbook, or from your documents.

v1 counts common words and shows how the article begins; v2 searches with BM25, stems and synonyms,
answers with one or two sentences and abstains when it is not sure; v3 understands follow-up
questions and cites its source, but abstains too often.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from pydantic import Field

from vellum_nb.local import ChatHistory, Reject, SearchResults
from vellum_nb.local.samples.retrieval import Article, Hit, Index, handbook, overlap
from vellum_nb.local.samples.text import sentences, stems, words

__all__ = ["docs_qa_v1", "docs_qa_v2", "docs_qa_v3"]

_SHOWN = 3
_SURE_V2, _SURE_V3 = 0.35, 0.62  # share of the question that the best article must speak about
_SHORT = 3  # a question of so few meaningful words leans on what was said before
_POINTING = frozenset(
    {"it", "its", "that", "this", "they", "them", "those", "these", "ones", "and"}
)

Question = Annotated[
    str, Field(description="what you want to know", json_schema_extra={"x-multiline": False})
]
Documents = Annotated[
    list[dict[str, Any]] | None,
    Field(description='where to look: [{"title": ..., "text": ...}]; left out, the handbook'),
]
History = Annotated[
    ChatHistory | None, Field(description="the conversation so far; v3 reads it for follow-ups")
]


class Answer(TypedDict):
    """Outputs of every release."""

    answer: str
    sources: SearchResults
    confidence: float


def docs_qa_v1(question: Question, *, documents: Documents = None) -> Answer:
    """Show the beginning of the article that shares most words with the question."""
    hits = overlap(_checked(question), _index(documents).articles)
    return {
        "answer": " ".join(sentences(hits[0].article.text)[:_SHOWN]),
        "sources": _sources(hits),
        "confidence": round(hits[0].score, 2),
    }


def docs_qa_v2(
    question: Question, *, chat_history: History = None, documents: Documents = None
) -> Answer:
    """Answer with the nearest sentences of the best article; abstain below a threshold."""
    del chat_history  # kept in the conversation, not read yet
    index = _index(documents)
    hits = index.search(_checked(question))
    sure = index.coverage(question, hits[0])
    if sure < _SURE_V2:
        return _abstained(hits, sure)
    return {
        "answer": _in_order(hits[0], count=2),
        "sources": _sources(hits),
        "confidence": round(sure, 2),
    }


def docs_qa_v3(
    question: Question, *, chat_history: History = None, documents: Documents = None
) -> Answer:
    """Answer follow-ups too, as Markdown with the source; abstain unless quite sure."""
    index = _index(documents)
    asked = _in_context(_checked(question), chat_history or [])
    hits = index.search(asked)
    sure = index.coverage(asked, hits[0])
    if sure < _SURE_V3:
        return _abstained(hits, sure)
    first, *others = hits[0].best[:_SHOWN]
    title = hits[0].article.title
    points = "".join(f"\n- {other}" for other in others)
    more = f"\n\nSee also:\n{points}" if points else ""
    return {
        "answer": f"**{first}**{more}\n\n*Source: {title}*",
        "sources": _sources(hits),
        "confidence": round(sure, 2),
    }


def _checked(question: str) -> str:
    if not words(question):
        msg = "the question is empty; ask something in words"
        raise Reject(msg)
    return question


def _index(documents: Sequence[dict[str, Any]] | None) -> Index:
    if not documents:
        return handbook()
    articles = []
    for number, document in enumerate(documents, start=1):
        text = document.get("text")
        if not isinstance(text, str) or not text.strip():
            msg = f'document {number} has no "text"; each document is {{"title": ..., "text": ...}}'
            raise Reject(msg)
        articles.append(Article(str(document.get("title") or f"Document {number}"), text))
    return Index(articles, handbook().synonyms)


def _in_context(question: str, history: Sequence[dict[str, Any]]) -> str:
    leans = len(stems(question)) <= _SHORT or not _POINTING.isdisjoint(words(question))
    said = [text for message in history if (text := _said(message))]
    return " ".join([*said[-2:], question]) if leans else question


def _said(message: dict[str, Any]) -> str:
    content = message.get("content")
    text = message.get("text") or (content.get("value") if isinstance(content, dict) else content)
    return text if isinstance(text, str) else ""


def _in_order(hit: Hit, *, count: int) -> str:
    chosen = hit.best[:count]
    return " ".join(sorted(chosen, key=hit.article.text.find))


def _sources(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    return [
        {
            "text": hit.best[0] if hit.best else hit.article.text,
            "score": round(hit.score, 3),
            "keywords": [],
            "document": {"label": hit.article.title},
        }
        for hit in hits[:_SHOWN]
        if hit.score > 0
    ]


def _abstained(hits: Sequence[Hit], sure: float) -> Answer:
    return {
        "answer": "I could not find this in the documents.",
        "sources": _sources(hits),
        "confidence": round(sure, 2),
    }
