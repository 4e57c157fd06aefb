"""`docs-qa`: three releases that answer questions from a small handbook or your documents."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

from pydantic import Field

from vellum_nb.local.refusals import Reject
from vellum_nb.local.samples.text import field, not_empty, sentences, stem, stems, words
from vellum_nb.local.types import ChatHistory, SearchResults

_HANDBOOK = Path(__file__).parent / "data" / "handbook.json"
_K1, _B = 1.2, 0.6  # the usual BM25 settings: saturation of repeats, weight of length
_SYNONYM_WEIGHT = 0.7
_LONG = 4  # minimum of letters of a word in v1
_UNKNOWN_WEIGHT = 0.6  # weight of a word that is in none of the articles


class _Article(NamedTuple):
    title: str
    text: str


class _Hit(NamedTuple):
    article: _Article
    score: float
    best: tuple[str, ...] = ()  # its sentences, best first


class _Index:
    """BM25 over the stems of the articles, with synonyms of the words of the question."""

    def __init__(self, articles: Sequence[_Article], synonyms: Mapping[str, Sequence[str]]) -> None:
        self.articles = articles
        self.synonyms = synonyms
        self._bags = [Counter(stems(f"{a.title} {a.title} {a.text}")) for a in articles]
        self._mean = sum(bag.total() for bag in self._bags) / max(1, len(self._bags))
        self._spread = Counter(term for bag in self._bags for term in bag)

    def search(self, question: str) -> list[_Hit]:
        """Rank the articles for a question, each with its sentences, best first."""
        query: dict[str, float] = {}
        for first, *synonyms in self._groups(question):
            query[first] = 1.0
            for synonym in synonyms:
                query.setdefault(synonym, _SYNONYM_WEIGHT)

        def nearness(sentence: str) -> float:
            held = set(stems(sentence))
            return sum(weight * self._idf(t) for t, weight in query.items() if t in held)

        hits = []
        for bag, article in zip(self._bags, self.articles, strict=True):
            best = sorted(sentences(article.text), key=nearness, reverse=True)
            hits.append(_Hit(article, self._score(query, bag), tuple(best)))
        return sorted(hits, key=lambda hit: -hit.score)

    def coverage(self, question: str, hit: _Hit) -> float:
        """Return the share of the question, weighted by rarity, that the article covers."""
        bag = Counter(stems(f"{hit.article.title} {hit.article.text}"))
        weights: list[tuple[float, bool]] = []
        for group in self._groups(question):
            rarities = [self._idf(term) for term in group if term in self._spread]
            rarity = max(rarities) if rarities else _UNKNOWN_WEIGHT * self._idf(group[0])
            weights.append((rarity, any(term in bag for term in group)))
        total = sum(weight for weight, _ in weights)
        return sum(weight for weight, is_held in weights if is_held) / total if total else 0.0

    def _groups(self, question: str) -> list[list[str]]:
        return [[term, *self.synonyms.get(term, ())] for term in dict.fromkeys(stems(question))]

    def _idf(self, term: str) -> float:
        count = self._spread[term]
        return math.log(1 + (len(self._bags) - count + 0.5) / (count + 0.5))

    def _score(self, query: Mapping[str, float], bag: Counter[str]) -> float:
        length = 1 - _B + _B * bag.total() / (self._mean or 1)
        return sum(
            weight * self._idf(term) * bag[term] * (_K1 + 1) / (bag[term] + _K1 * length)
            for term, weight in query.items()
            if term in bag
        )


@cache
def _handbook() -> _Index:
    data: dict[str, Any] = json.loads(_HANDBOOK.read_text(encoding="utf-8"))
    articles = [_Article(item["title"], item["text"]) for item in data["articles"]]
    synonyms = data["synonyms"].items()
    return _Index(
        articles, {stem(word): [*map(stem, alternatives)] for word, alternatives in synonyms}
    )


_MAX_SOURCES = 3
_EMPTY = "the question is empty; ask something in words"
_ABSTAINED = "I could not find this in the documents."
_SURE_V2, _SURE_V3 = 0.35, 0.62  # share of the question that the best article must cover
_SHORT = 3  # words; a shorter question refers to the conversation
_POINTING = {"it", "its", "that", "this", "they", "them", "those", "these", "ones", "and"}

Question = Annotated[str, field("what you want to know", long=False)]
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
    query = {word for word in words(not_empty(question, _EMPTY)) if len(word) >= _LONG}
    texts = [
        (article, set(words(f"{article.title} {article.text}")))
        for article in _index(documents).articles
    ]
    hits = [_Hit(article, len(query & held) / max(1, len(query))) for article, held in texts]
    hits.sort(key=lambda hit: -hit.score)
    answer = " ".join(sentences(hits[0].article.text)[:_MAX_SOURCES])
    return _answer(answer, hits, hits[0].score)


def docs_qa_v2(
    question: Question, *, chat_history: History = None, documents: Documents = None
) -> Answer:
    """Answer with the nearest sentences of the best article; abstain below a threshold."""
    del chat_history  # kept in the conversation, not read yet
    index = _index(documents)
    hits = index.search(not_empty(question, _EMPTY))
    sure = index.coverage(question, hits[0])
    nearest = sorted(hits[0].best[:2], key=hits[0].article.text.find)
    return _answer(" ".join(nearest) if sure >= _SURE_V2 else _ABSTAINED, hits, sure)


def docs_qa_v3(
    question: Question, *, chat_history: History = None, documents: Documents = None
) -> Answer:
    """Answer follow-ups too, as Markdown with the source; abstain unless quite sure."""
    index = _index(documents)
    query = _in_context(not_empty(question, _EMPTY), chat_history or [])
    hits = index.search(query)
    sure = index.coverage(query, hits[0])
    if sure < _SURE_V3:
        return _answer(_ABSTAINED, hits, sure)
    first, *further = hits[0].best[:_MAX_SOURCES]
    points = "".join(f"\n- {sentence}" for sentence in further)
    more = f"\n\nSee also:\n{points}" if points else ""
    return _answer(f"**{first}**{more}\n\n*Source: {hits[0].article.title}*", hits, sure)


def _index(documents: Sequence[dict[str, Any]] | None) -> _Index:
    if not documents:
        return _handbook()
    articles = []
    for number, document in enumerate(documents, start=1):
        text = document.get("text")
        if not isinstance(text, str) or not text.strip():
            msg = f'document {number} has no "text"; each document is {{"title": ..., "text": ...}}'
            raise Reject(msg)
        articles.append(_Article(str(document.get("title") or f"Document {number}"), text))
    return _Index(articles, _handbook().synonyms)


def _in_context(question: str, history: Sequence[dict[str, Any]]) -> str:
    texts: list[str] = []
    for message in history:
        content = message.get("content")
        inner = content.get("value") if isinstance(content, dict) else content
        text = message.get("text") or inner
        texts += [text] if isinstance(text, str) and text else []
    leans = len(stems(question)) <= _SHORT or not _POINTING.isdisjoint(words(question))
    return " ".join([*texts[-2:], question]) if leans else question


def _answer(answer: str, hits: Sequence[_Hit], sure: float) -> Answer:
    sources = [
        {
            "text": hit.best[0] if hit.best else hit.article.text,
            "score": round(hit.score, 3),
            "keywords": [],
            "document": {"label": hit.article.title},
        }
        for hit in hits[:_MAX_SOURCES]
        if hit.score > 0
    ]
    return {"answer": answer, "sources": sources, "confidence": round(sure, 2)}
