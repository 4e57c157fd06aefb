"""Actions of a workspace, made of a few functions."""

from __future__ import annotations

from typing import Any

from vellum_nb.history import History


class SomeActions:
    """`Actions` with an empty history and the given functions; others raise AttributeError."""

    def __init__(self, **functions: Any) -> None:
        unreadable = dict.fromkeys(("release", "code"), lambda *_: None)
        vars(self).update({"history": History(":memory:")} | unreadable | functions)
