"""Annotations for parameters and results of callables with a Vellum type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class VellumType:
    """Vellum's type of an annotated type, such as `CHAT_HISTORY`.

    Examples
    --------
    >>> ChatHistory.__metadata__
    (VellumType(name='CHAT_HISTORY'),)
    """

    name: str


class State(dict[str, Any]):
    """Parameter for the state of a conversation, which is not an input variable.

    It starts with the final state of the execution ``previous_execution_id``, or empty. Its JSON
    values are stored if the run succeeds.

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
