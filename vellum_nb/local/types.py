"""Types that say which Vellum type a parameter or a result of a callable has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

__all__ = [
    "Audio",
    "ChatHistory",
    "Document",
    "Image",
    "SearchResults",
    "VellumType",
    "Video",
]


@dataclass(frozen=True)
class VellumType:
    """Marks an annotated type as one of Vellum's, such as `CHAT_HISTORY`.

    Examples
    --------
    >>> ChatHistory.__metadata__
    (VellumType(name='CHAT_HISTORY'),)
    """

    name: str


ChatHistory = Annotated[list[dict[str, Any]], VellumType("CHAT_HISTORY")]
SearchResults = Annotated[list[dict[str, Any]], VellumType("SEARCH_RESULTS")]
Image = Annotated[dict[str, Any], VellumType("IMAGE")]
Audio = Annotated[dict[str, Any], VellumType("AUDIO")]
Video = Annotated[dict[str, Any], VellumType("VIDEO")]
Document = Annotated[dict[str, Any], VellumType("DOCUMENT")]
