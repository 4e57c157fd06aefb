"""Types that say which Vellum type a parameter or a result of a callable has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class VellumType:
    """Marks an annotated type as one of Vellum's, such as `CHAT_HISTORY`.

    Examples
    --------
    >>> ChatHistory.__metadata__
    (VellumType(name='CHAT_HISTORY'),)
    """

    name: str


class State(dict[str, Any]):
    """Marks the parameter that holds what a conversation remembers; it is no input variable.

    It begins as what the execution named by ``previous_execution_id`` left in its state, or
    empty. What the callable puts in it, as far as JSON knows it, is stored when the run succeeds.

    Examples
    --------
    >>> def count(message: str, state: State) -> int:
    ...     state["turns"] = state.get("turns", 0) + 1
    ...     return state["turns"]
    >>> count("hello", State(turns=1))
    2
    """


ChatHistory = Annotated[list[dict[str, Any]], VellumType("CHAT_HISTORY")]
SearchResults = Annotated[list[dict[str, Any]], VellumType("SEARCH_RESULTS")]
Image = Annotated[dict[str, Any], VellumType("IMAGE")]
Audio = Annotated[dict[str, Any], VellumType("AUDIO")]
Video = Annotated[dict[str, Any], VellumType("VIDEO")]
Document = Annotated[dict[str, Any], VellumType("DOCUMENT")]
