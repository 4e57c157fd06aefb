"""The runs of a form while they stream: what has come so far, for the bar and for the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from vellum_nb.models import Cancellation, Run, RunRequest
from vellum_nb.rendering.format import visible_name
from vellum_nb.rendering.values_html import clipped
from vellum_nb.widgets.spec import Progressing

__all__ = ["Live", "Stream", "live_facts", "live_texts"]

Stream = Callable[[RunRequest, Cancellation, Callable[[Progressing], None]], Run]

_LONGEST_NODE = 60


class Live:
    """Runs requests as streams, and knows the newest word of each.

    Parameters
    ----------
    stream : callable
        Executes one request and calls back with how it gets on, from its own thread.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._latest: dict[str, Progressing] = {}

    def __call__(self, request: RunRequest, cancel: Cancellation) -> Run:
        """Execute one request."""
        return self._stream(request, cancel, partial(self._latest.__setitem__, request.release_tag))

    @property
    def latest(self) -> dict[str, Progressing]:
        """Release tag to what is known of its run."""
        return dict(self._latest)

    def node(self) -> str:
        """Return which node runs, where there is one run and it says so."""
        if len(self._latest) != 1:
            return ""
        (progressing,) = self.latest.values()
        if not progressing.node:
            return ""
        name = visible_name(progressing.node)
        name = name if len(name) <= _LONGEST_NODE else f"{name[:_LONGEST_NODE]}…"
        return f"node {progressing.nodes_done + 1} · {name}"


def live_facts(progressing: Progressing) -> str:
    """Return how a stream gets on, in words.

    Examples
    --------
    >>> live_facts(Progressing({"reply": "Thank you, I"}, first_s=0.62))
    'streaming · first words after 0.62 s · 3 words'
    """
    parts = ["streaming"]
    if progressing.first_s is not None:
        parts.append(f"first words after {progressing.first_s:.2f} s")
    words = sum(len(text.split()) for text in progressing.texts.values())
    if words:
        parts.append("1 word" if words == 1 else f"{words:,} words")
    return " · ".join(parts)


def live_texts(
    progressing: Progressing, names: Sequence[str], before: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the page shows of a run that streams: the text of each of `names`.

    `growing` is the place of the output that has grown since `before`, which was shown then.
    """
    texts = [_sound(progressing.texts.get(name, "")) for name in names]
    known = before.get("texts", [])
    grown = [at for at, text in enumerate(texts) if text and text not in known[at : at + 1]]
    growing = grown[-1] if grown else before.get("growing", -1)
    return {"facts": live_facts(progressing), "texts": texts, "growing": growing}


def _sound(text: str) -> str:
    """Return as much as is shown; a character that has come by half waits for its other half."""
    shown, rest = clipped(text)
    joined = shown.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return f"{joined}…" if rest else joined
