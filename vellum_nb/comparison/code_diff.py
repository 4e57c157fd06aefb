"""The code of two releases side by side. Pure: files in, text and HTML out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from html import escape
from itertools import zip_longest

from vellum_nb.rendering.format import plural
from vellum_nb.rendering.html import NO_MATH

__all__ = ["CodeDiff"]

_AROUND = 3
_ANY = "vertical-align: top; font-family: monospace; font-size: 12px"
_NUMBER = f"{_ANY}; text-align: right; opacity: 0.6"
_CODE = f"{_ANY}; text-align: left; white-space: pre-wrap; overflow-wrap: anywhere"
_LOOKS = {  # element, mark, ground: it shows on light and on dark pages
    "delete": ("del", "- ", "; background: rgba(248, 81, 73, 0.18)"),
    "insert": ("ins", "+ ", "; background: rgba(46, 160, 67, 0.2)"),
    "equal": ("span", "  ", ""),
}
_COLUMNS = '<col style="width: 3.5em"><col style="width: 50%">' * 2


@dataclass(frozen=True)
class CodeDiff:
    r"""How the files of one release differ from those of another.

    Attributes
    ----------
    deployment, old, new : str
        What was compared.
    before, after : mapping
        Path to text.

    Examples
    --------
    >>> diff = CodeDiff("triage", "v1", "v2", {"a.py": "x = 1\n"}, {"a.py": "x = 2\n"})
    >>> diff
    <CodeDiff triage v1 → v2: 1 file differs (+1 -1)>
    >>> print(diff.text.splitlines()[-1])
    +x = 2
    """

    deployment: str
    old: str
    new: str
    before: Mapping[str, str]
    after: Mapping[str, str]

    @property
    def paths(self) -> list[str]:
        """The files that differ."""
        every = sorted({*self.before, *self.after})
        return [path for path in every if self.before.get(path) != self.after.get(path)]

    @property
    def text(self) -> str:
        """The difference as a unified diff; empty when there is none."""
        return "".join(line for path in self.paths for line in self._unified(path))

    @property
    def sentence(self) -> str:
        """How many files and lines differ."""
        marks = [line[0] for line in self.text.splitlines() if not line.startswith(("+++", "---"))]
        files = plural(len(self.paths), "file differs", "files differ")
        return f"{files} (+{marks.count('+')} -{marks.count('-')})"

    def _unified(self, path: str) -> Iterator[str]:
        lines = unified_diff(
            _lines(self.before.get(path)),
            _lines(self.after.get(path)),
            f"{self.old}/{path}" if path in self.before else "/dev/null",
            f"{self.new}/{path}" if path in self.after else "/dev/null",
        )
        for line in lines:
            end = "" if line.endswith("\n") else "\n\\ No newline at end of file\n"
            yield f"{line}{end}"

    def __repr__(self) -> str:
        head = f"<CodeDiff {self.deployment} {self.old} → {self.new}"
        if not self.paths:
            return f"{head}: no difference>"
        return f"{head}: {self.sentence}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        caption = f"{self.deployment}: code of {self.old} and of {self.new}"
        if not self.paths:
            return f"<p>{escape(caption)}: no difference</p>"
        tables = "".join(self._table(path) for path in self.paths)
        return f'<div class="{NO_MATH}"><b>{escape(caption)}</b>{tables}</div>'

    def _table(self, path: str) -> str:
        old, new = _lines(self.before.get(path)), _lines(self.after.get(path))
        groups = SequenceMatcher(None, old, new).get_grouped_opcodes(_AROUND)
        gap = '<tr><td colspan="4" style="text-align: left">⋯</td></tr>'
        body = gap.join("".join(_rows(old, new, group)) for group in groups)
        heads = (escape(self.old), escape(self.new))
        head = "".join(f'<th colspan="2" style="text-align: left">{name}</th>' for name in heads)
        return (
            f'<table style="width: 100%; table-layout: fixed"><caption>{escape(path)}</caption>'
            f"<colgroup>{_COLUMNS}</colgroup>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def _lines(text: str | None) -> list[str]:
    """Return lines with their ends; only line feeds end one, as in editors."""
    if not text:
        return []
    *whole, rest = text.split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])


def _rows(
    old: Sequence[str], new: Sequence[str], group: Sequence[tuple[str, int, int, int, int]]
) -> Iterator[str]:
    for tag, a, b, c, d in group:
        kinds = ("equal", "equal") if tag == "equal" else ("delete", "insert")
        left = [_cell(n + 1, old[n], kinds[0]) for n in range(a, b)]
        right = [_cell(n + 1, new[n], kinds[1]) for n in range(c, d)]
        for pair in zip_longest(left, right, fillvalue="<td></td><td></td>"):
            yield f"<tr>{''.join(pair)}</tr>"


def _cell(number: int, line: str, kind: str) -> str:
    element, mark, ground = _LOOKS[kind]
    text = escape(line.rstrip("\n"))
    code = f'<{element} style="text-decoration: none">{mark}{text}</{element}>'
    return f'<td style="{_NUMBER}">{number}</td><td style="{_CODE}{ground}">{code}</td>'
