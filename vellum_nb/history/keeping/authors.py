"""Who makes the runs of this process."""

from __future__ import annotations

import getpass
import os

__all__ = ["author_here"]


def author_here(*, is_shared: bool) -> str | None:
    """Return ``VELLUM_NB_AUTHOR``, else, where a team shares the history, the user's name."""
    named = os.environ.get("VELLUM_NB_AUTHOR")
    if named is not None or not is_shared:
        return named or None  # empty: nobody
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have no name for its user
        return None
