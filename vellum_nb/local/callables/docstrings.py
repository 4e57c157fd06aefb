"""The little that is read from a numpy docstring: its summary and its parameters."""

from __future__ import annotations

import inspect
import re

__all__ = ["parameters", "summary"]

_HEADER = re.compile(r"^(?P<name>[A-Z][A-Za-z ]+)\n-{3,}[ ]*$", re.MULTILINE)


def summary(doc: str | None) -> str:
    r"""Return the first paragraph on one line.

    Examples
    --------
    >>> summary("Sort a ticket.\n\nMore.")
    'Sort a ticket.'
    """
    first = inspect.cleandoc(doc or "").partition("\n\n")[0]
    return " ".join(first.split())


def parameters(doc: str | None) -> dict[str, str]:
    """Return the descriptions of the parameters.

    Examples
    --------
    >>> parameters('''Sort.
    ...
    ... Parameters
    ... ----------
    ... ticket, mail : str
    ...     What the customer wrote.
    ... ''')
    {'ticket': 'What the customer wrote.', 'mail': 'What the customer wrote.'}
    """
    found: dict[str, str] = {}
    names: list[str] = []
    for line in _section(inspect.cleandoc(doc or ""), "Parameters").splitlines():
        if line[:1].strip():
            names = [name.strip(" *") for name in line.partition(":")[0].split(",")]
            found.update(dict.fromkeys(names, ""))
        else:
            found.update({name: f"{found[name]} {line.strip()}".strip() for name in names})
    return {name: text for name, text in found.items() if text}


def _section(doc: str, wanted: str) -> str:
    heads = list(_HEADER.finditer(doc))
    for head, following in zip(heads, [*heads[1:], None], strict=False):
        if head["name"] == wanted:
            return doc[head.end() : following.start() if following else len(doc)].strip("\n")
    return ""
