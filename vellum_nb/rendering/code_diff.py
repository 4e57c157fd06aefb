"""`CodeDiff`: the difference between the code of two releases, as text and HTML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from html import escape
from io import StringIO

from vellum_nb.escaping import printed
from vellum_nb.rendering.diff import diff_html, word_diff
from vellum_nb.rendering.format import plural, visible_name
from vellum_nb.rendering.html import NO_MATH

_FOLD = 200  # characters of equal code before it is folded


@dataclass(frozen=True, repr=False)
class CodeDiff:
    r"""Difference between the code of two releases.

    In a notebook, changed words are marked and equal parts are folded.

    Attributes
    ----------
    deployment, old, new : str
        The deployment and the compared releases.
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
        paths = sorted({*self.before, *self.after})
        return [path for path in paths if self.before.get(path) != self.after.get(path)]

    @property
    def text(self) -> str:
        """Unified diff; empty if the code is equal."""
        return "".join(line for path in self.paths for line in self._unified(path))

    @property
    def sentence(self) -> str:
        """Numbers of changed files and lines."""
        marks = [line[:1] for line in self.text.splitlines() if not line.startswith(("+++", "---"))]
        files = plural(len(self.paths), "file differs", "files differ")
        return f"{files} (+{marks.count('+')} -{marks.count('-')})"

    def _unified(self, path: str) -> Iterator[str]:
        lines = unified_diff(
            list(StringIO(self.before.get(path))),  # only line feeds end a line, as in editors
            list(StringIO(self.after.get(path))),
            f"{self.old}/{path}" if path in self.before else "/dev/null",
            f"{self.new}/{path}" if path in self.after else "/dev/null",
        )
        for line in lines:
            end = "" if line.endswith("\n") else "\n\\ No newline at end of file\n"
            yield f"{line}{end}"

    @printed
    def __repr__(self) -> str:
        changes = self.sentence if self.paths else "no difference"
        return f"<CodeDiff {self.deployment} {self.old} → {self.new}: {changes}>"

    @printed
    def _repr_html_(self) -> str:
        names = map(visible_name, (self.deployment, self.old, self.new))
        parts = ["<b>{}: code of {} and of {}</b>".format(*map(escape, names))]
        for path in self.paths:
            ops = word_diff(self.before.get(path, ""), self.after.get(path, ""))
            pieces = diff_html(ops, fold=_FOLD)
            parts.append(f'<p>{escape(path)}</p><pre class="vnb-text vnb-change">{pieces}</pre>')
        parts += [] if self.paths else ["<p>no difference</p>"]
        return f'<div class="{NO_MATH}">{"".join(parts)}</div>'
