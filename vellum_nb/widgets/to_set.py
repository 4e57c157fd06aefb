"""Adding cases or runs of a table to a case set, by a panel of its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vellum_nb.comparison.actions import Actions
from vellum_nb.history import clean
from vellum_nb.widgets.table_view import MAX_TEXT, TableView, refuse

_MAX_SETS = 200  # offered names

Chosen = tuple[str | None, Any]
"""The deployment, if it is known, and the cases or runs to add."""


def offer_case_sets(
    table: TableView,
    actions: Actions,
    chosen: Callable[[Mapping[str, Any]], Chosen],
    submit: Callable[[Callable[[], None]], None],
) -> None:
    """Let the page of `table` list case sets, and add cases to one.

    `chosen` reads the cases from a message of the page; `submit` calls a function in a thread.
    """

    def show_names(message: Mapping[str, Any]) -> None:
        names = actions.case_sets(chosen(message)[0])[:_MAX_SETS]
        table.send({"kind": "case_sets", "names": list(map(clean, names))})

    def add(message: Mapping[str, Any]) -> None:
        def act() -> str:
            name = message.get("name")
            if not isinstance(name, str) or len(name) > MAX_TEXT:
                refuse(f"{name!r:.60} is not the name of a case set")
            return actions.add_cases(name.strip(), *chosen(message))

        table.send_outcome(act)

    def in_thread(call: Callable[[Mapping[str, Any]], None], message: Mapping[str, Any]) -> None:
        submit(lambda: table.guarded("action", lambda: call(message)))

    table.actions |= {
        "case_sets": lambda message: in_thread(show_names, message),
        "add_to_set": lambda message: in_thread(add, message),
    }
