"""A small naive Bayes classifier over stems, trained on texts that come with the samples."""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

__all__ = ["NaiveBayes", "labelled_texts"]


class NaiveBayes:
    """Multinomial naive Bayes with add-half smoothing.

    Parameters
    ----------
    examples : iterable of (label, text)
        What to learn from.
    features : callable
        Turns a text into the features that are counted.

    Examples
    --------
    >>> model = NaiveBayes([("fruit", "red apple"), ("tool", "red hammer")], features=str.split)
    >>> max(model.probabilities("green apple").items(), key=lambda pair: pair[1])[0]
    'fruit'
    """

    def __init__(
        self,
        examples: Iterable[tuple[str, str]],
        *,
        features: Callable[[str], Sequence[str]],
    ) -> None:
        self._features = features
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        sizes: Counter[str] = Counter()
        for label, text in examples:
            sizes[label] += 1
            self._counts[label].update(features(text))
        self._known = frozenset().union(*self._counts.values())
        self._priors = {label: math.log(size / sizes.total()) for label, size in sizes.items()}
        self._totals = {label: counts.total() for label, counts in self._counts.items()}

    def probabilities(self, text: str) -> dict[str, float]:
        """Return the probability of each label; long texts are tempered, words unseen ignored."""
        seen = [feature for feature in self._features(text) if feature in self._known]
        calm = max(1.0, math.sqrt(len(seen) / 4))
        scores = {label: self._score(label, seen) / calm for label in self._priors}
        best = max(scores.values())
        weights = {label: math.exp(score - best) for label, score in scores.items()}
        whole = sum(weights.values())
        return {label: weight / whole for label, weight in weights.items()}

    def _score(self, label: str, seen: Sequence[str]) -> float:
        counts, size = self._counts[label], self._totals[label] + len(self._known) / 2
        return self._priors[label] + sum(math.log((counts[f] + 0.5) / size) for f in seen)


def labelled_texts(path: Path, *, language: str | None = None) -> list[tuple[str, str]]:
    """Read (label, text) pairs from a CSV file with the columns label, text, language."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return [(label, text) for label, text, spoken in rows if language in {None, spoken}]
