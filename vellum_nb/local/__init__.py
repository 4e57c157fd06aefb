"""The local server: Vellum's API on loopback, with plain Python callables as workflows."""

from __future__ import annotations

from vellum_nb.local.faults import Faults
from vellum_nb.local.isolation.process import Isolation
from vellum_nb.local.refusals import Reject
from vellum_nb.local.server import LocalServer
from vellum_nb.local.types import Audio, ChatHistory, Document, Image, SearchResults, State, Video

__all__ = [
    "Audio",
    "ChatHistory",
    "Document",
    "Faults",
    "Image",
    "Isolation",
    "LocalServer",
    "Reject",
    "SearchResults",
    "State",
    "Video",
]
