"""What a history remembers of itself beside its rows: a few named texts."""

from __future__ import annotations

from vellum_nb.history.store.large import Read
from vellum_nb.history.store.store import Connection

__all__ = ["setting", "settle"]


def setting(read: Read, name: str) -> str | None:
    """Return the text of this name, None where there is none."""
    found = read("SELECT value FROM settings WHERE name = ?", (name,))
    return str(found[0][0]) if found else None


def settle(connection: Connection, name: str, value: str) -> None:
    """Keep a text under this name, instead of the one before, in the caller's transaction."""
    connection.execute(
        "INSERT INTO settings (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
