"""Find the article and the sentences that answer a question: word overlap, or BM25."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from vellum_nb.local.samples.text import sentences, stem, stems, words

__all__ = ["Article", "Hit", "Index", "handbook", "overlap"]

_HANDBOOK = Path(__file__).parent / "data" / "handbook.json"
_K1, _B = 1.2, 0.6  # the usual BM25 settings: saturation of repeats, weight of length
_SYNONYM_WEIGHT = 0.7
_LONG = 4  # letters of a word that v1 counts
_UNKNOWN_WEIGHT = 0.6  # a word that no article holds says less than one that some hold


@dataclass(frozen=True)
class Article:
    """One document: its title and its text."""

    title: str
    text: str


@dataclass(frozen=True)
class Hit:
    """An article with its score, and which of its sentences come nearest, best first."""

    article: Article
    score: float
    best: tuple[str, ...] = ()


def overlap(question: str, articles: Sequence[Article]) -> list[Hit]:
    """Rank articles by the share of the question's longer words that they hold."""
    asked = {word for word in words(question) if len(word) >= _LONG}
    hits = [
        Hit(
            article, len(asked & set(words(f"{article.title} {article.text}"))) / max(1, len(asked))
        )
        for article in articles
    ]
    return sorted(hits, key=lambda hit: -hit.score)


@dataclass
class Index:
    """BM25 over the stems of the articles; words of the question may stand for their synonyms.

    Examples
    --------
    >>> index = Index([Article("Tea", "Pour hot water."), Article("Cake", "Bake for an hour.")])
    >>> index.search("How is tea made with water?")[0].article.title
    'Tea'
    """

    articles: Sequence[Article]
    synonyms: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._bags = [Counter(stems(f"{a.title} {a.title} {a.text}")) for a in self.articles]
        self._mean = sum(bag.total() for bag in self._bags) / max(1, len(self._bags))
        self._spread = Counter(term for bag in self._bags for term in bag)

    def search(self, question: str) -> list[Hit]:
        """Rank the articles for a question, each with its sentences, best first."""
        asked = self._asked(question)
        scored = [
            (self._score(asked, bag), article)
            for bag, article in zip(self._bags, self.articles, strict=True)
        ]
        scored.sort(key=lambda pair: -pair[0])
        return [Hit(article, score, self._nearest(asked, article)) for score, article in scored]

    def coverage(self, question: str, hit: Hit) -> float:
        """Return which share of the question, weighed by rarity, the article speaks about."""
        bag = Counter(stems(f"{hit.article.title} {hit.article.text}"))
        weights = [(self._rarity(group), group) for group in self._groups(question)]
        whole = sum(weight for weight, _ in weights)
        if not whole:
            return 0.0
        return sum(weight for weight, group in weights if any(t in bag for t in group)) / whole

    def _groups(self, question: str) -> list[list[str]]:
        return [[term, *self.synonyms.get(term, ())] for term in dict.fromkeys(stems(question))]

    def _asked(self, question: str) -> dict[str, float]:
        asked: dict[str, float] = {}
        for first, *others in self._groups(question):
            asked[first] = 1.0
            for other in others:
                asked.setdefault(other, _SYNONYM_WEIGHT)
        return asked

    def _rarity(self, group: Sequence[str]) -> float:
        known = [self._idf(term) for term in group if term in self._spread]
        return max(known) if known else _UNKNOWN_WEIGHT * self._idf(group[0])

    def _idf(self, term: str) -> float:
        found = self._spread[term]
        return math.log(1 + (len(self._bags) - found + 0.5) / (found + 0.5))

    def _score(self, asked: Mapping[str, float], bag: Counter[str]) -> float:
        length = 1 - _B + _B * bag.total() / (self._mean or 1)
        return sum(
            weight * self._idf(term) * bag[term] * (_K1 + 1) / (bag[term] + _K1 * length)
            for term, weight in asked.items()
            if term in bag
        )

    def _nearest(self, asked: Mapping[str, float], article: Article) -> tuple[str, ...]:
        def nearness(sentence: str) -> float:
            held = set(stems(sentence))
            return sum(weight * self._idf(t) for t, weight in asked.items() if t in held)

        return tuple(sorted(sentences(article.text), key=nearness, reverse=True))


@cache
def handbook() -> Index:
    """Return the index of the built-in handbook, which describes a product that does not exist."""
    data: dict[str, Any] = json.loads(_HANDBOOK.read_text(encoding="utf-8"))
    articles = [Article(item["title"], item["text"]) for item in data["articles"]]
    synonyms = {
        stem(word): tuple(stem(other) for other in others)
        for word, others in data["synonyms"].items()
    }
    return Index(articles, synonyms)
