"""Cases of a sweep: read tables, convert values, and check them on every release."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from html import escape
from io import BytesIO, StringIO
from itertools import chain
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple, TypeAlias, Union
from uuid import UUID

from vellum_nb.comparison.cases import expected_problem, label_note, outputs_meant
from vellum_nb.errors import InputError, InputProblem
from vellum_nb.files import read_file
from vellum_nb.history import (
    DatabaseUrl,
    csv_table,
    json_objects,
    refuse_short_view,
    typed,
    unguarded,
)
from vellum_nb.lazy import pd
from vellum_nb.models import Run, VellumVariable, WorkflowDeploymentRelease, case_id
from vellum_nb.models.checks import refuse
from vellum_nb.models.inputs import field_kind, format_value, plain, to_wire, unknown_name
from vellum_nb.models.media import ADDRESSES, MEDIA_TYPES
from vellum_nb.models.sweeps import MOST_RUNS, SweepCase, conversations
from vellum_nb.rendering.format import one_line, plural, visible_name

Releases: TypeAlias = Mapping[str, WorkflowDeploymentRelease | None]
TURNS, TURN, CONVERSATION = "turns", "turn", "conversation"
"""Columns of the turns of conversations: all in a list, or one row per turn."""
Use = Literal["input", "expected", "label", "previous"]

MOCKS = "mocks"
"""Column, and label of a case, with outputs that a local server uses in place of nodes."""
MOCKS_METADATA = "node_output_mocks"
"""Metadata key of a run with these mocks."""
PREVIOUS = "previous_execution_id"
"""Column with the id of the execution that a case continues."""
SUFFIXES = (".csv", ".jsonl", ".ndjson", ".json", ".parquet")
"""Suffixes of files of cases."""
_OF_A_HISTORY = frozenset({"execution_id", "release_tag", "timestamp", "deployment", "case_id"})
_OF_A_RUN = frozenset({"id", "inputs", "deployment", "case_id", "state"})
_OF_A_FRAME = "the DataFrame"
_USES: dict[str, Use] = {
    "input": "input",
    "expected": "expected",
    "desired": "expected",
    "label": "label",
}
_HISTORY_LABELS = frozenset({"execution_id", "note", "tags"})
_MAX_MEDIA_DEPTH = 8  # levels of a chat history: messages, content, parts
_UNREADABLE = (OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError)
_MAX_PARQUET_BYTES = 1_000_000_000  # unpacked
_MAX_COLUMNS = 2_000
_LISTED_COLUMNS = 12  # of a role
_COLUMN_CHARS = 60  # of a listed name
_ROLES: dict[Use, str] = {
    "input": "inputs",
    "expected": "expected",
    "label": "labels",
    "previous": "continues",
}
_NEVER_TEXT = frozenset({"CHAT_HISTORY", "ARRAY", "SEARCH_RESULTS", "FUNCTION_CALL"})
MEDIA = frozenset({"image", "audio", "video", "document"})
_TYPED = "; in a DataFrame text stays text: give the path of the file, or convert the column"


def mocks_metadata(labels: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the metadata that send the mocks of a case, or None without mocks."""
    return {MOCKS_METADATA: labels[MOCKS]} if MOCKS in labels else None


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file of cases, in memory or without `content` at a path; its suffix is the format.

    `renamed` are the columns that are read under another name, or are ignored (None). With `first`,
    only that many cases are run.
    """

    name: str
    content: bytes | None = field(repr=False)
    renamed: Mapping[str, str | None] = field(default_factory=dict)
    first: int | None = None


Cases: TypeAlias = Union["pd.DataFrame", Iterable[Mapping[str, Any] | Run], str, Path, CaseFile]
"""Cases as `Workspace.sweep` accepts them."""


@dataclass(frozen=True, slots=True)
class CaseColumn:
    """A column of a table of cases.

    Attributes
    ----------
    name, use : str
        Its name, and its use: ``input``, ``expected``, ``label`` or ``previous`` (the execution
        that a case continues).
    problem : str
        Why the column is invalid, so that nothing is sent; else empty.
    notes : tuple of str
        Why another use is likely.
    meant : tuple of str
        Likely names of a column with a problem or notes.
    """

    name: str
    use: Use
    problem: str = ""
    notes: tuple[str, ...] = ()
    meant: tuple[str, ...] = ()


def case_columns(cases: Iterable[SweepCase]) -> tuple[CaseColumn, ...]:
    """Return the inputs, expected outputs and labels of stored cases."""
    names = dict.fromkeys(name.partition(".") for case in cases for name in case.cells())
    return tuple(CaseColumn(name, _USES[use]) for use, _, name in names)


def columns_by_role(
    columns: Sequence[CaseColumn],
) -> Iterator[tuple[str, list[CaseColumn], str]]:
    """Yield each role with its columns, and the number of omitted ones as a text."""
    for use, role in _ROLES.items():
        of_role = [column for column in columns if column.use == use]
        doubtful_first = sorted(of_role, key=lambda column: not (column.problem or column.notes))
        listed = frozenset(column.name for column in doubtful_first[:_LISTED_COLUMNS])
        if of_role:
            more = len(of_role) - len(listed)
            shown = [column for column in of_role if column.name in listed]
            yield role, shown, f" and {more:,} more" if more else ""


def columns_html(columns: Sequence[CaseColumn]) -> str:
    """Return columns by role as safe HTML, one line per role."""
    lines = [
        f"<div><span>{role}:</span> <span>{' '.join(map(_column_html, listed))}{more}</span></div>"
        for role, listed, more in columns_by_role(columns)
    ]
    return f'<div class="vnb-columns">{"".join(lines)}</div>' if lines else ""


def _column_html(column: CaseColumn) -> str:
    name = escape(visible_name(one_line(column.name, _COLUMN_CHARS)))
    if not (column.problem or column.notes):
        return f"<code>{name}</code>"
    state = "invalid" if column.problem else "ambiguous"
    return f'<code class="vnb-{state}">{name}<span class="vnb-sr-only"> ({state})</span></code>'


class CheckedCases(NamedTuple):
    """Checked cases, with notes on them, the columns of their table, and the number left out."""

    cases: list[SweepCase]
    notes: tuple[str, ...]
    columns: tuple[CaseColumn, ...]
    omitted: int = 0


class Bare(str):
    """An unquoted cell of a CSV."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as given, without missing values."""

    rows: list[dict[str, Any]]
    columns: tuple[str, ...]
    form: Literal["csv", "frame", "dicts"]  # untyped; JSON as text; typed
    name: str  # in messages
    has_runs: bool = False
    first: int | None = None  # number of cases to run
    carry: str = ""  # what a turn gets from the one before, if each row is a turn
    keeps_duplicates: bool = False  # whether stored runs of one case are all returned

    @property
    def stored(self) -> bool:
        """Whether the rows are runs of a history."""
        return self.has_runs or set(self.columns) >= _OF_A_HISTORY


def read_table(cases: Cases) -> Table:
    """Return `cases` as a table; raise an `InputError` if they are unreadable or empty."""
    source: Any = [cases] if isinstance(cases, Run) else cases
    if isinstance(source, DatabaseUrl):
        msg = "Cases cannot be read from a URL; download the file, or pass a DataFrame"
        raise InputError(msg)
    if isinstance(source, str | Path | CaseFile):
        table = _of_file(source)
        if isinstance(source, CaseFile):
            table = _renamed(table, source.renamed) if source.renamed else table
            table = replace(table, first=source.first)
    elif hasattr(source, "to_dict") and hasattr(source, "columns"):
        table = _of_frame(source, _OF_A_FRAME)
    elif isinstance(source, Mapping) or not isinstance(source, Iterable):
        msg = (
            f"{format_value(source)} is not a table of cases; give a DataFrame, a list of dicts "
            "([{'ticket': '...'}, ...]), runs, or the path of a file"
        )
        raise InputError(msg)
    else:
        table = _of_dicts(list(source), "the list")
    if not table.rows:
        msg = f"{table.name} has no rows: a sweep needs at least one case"
        raise InputError(msg)
    refuse_short_view(table.columns, table.name)
    return table


def stored_table(cases: Sequence[SweepCase]) -> Table:
    """Return the table of the cases of a stored sweep."""
    rows = [{f"input.{name}": value for name, value in case.inputs.items()} for case in cases]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(rows, columns, "dicts", "the sweep", has_runs=True)


def _of_file(cases: str | Path | CaseFile) -> Table:
    name = cases.name if isinstance(cases, CaseFile) else str(cases)
    suffix, short = PurePath(name).suffix.lower(), PurePath(name).name
    if suffix not in SUFFIXES:
        msg = f"Unknown format: {short}; its name must end in one of {', '.join(SUFFIXES)}"
        raise InputError(msg)
    try:
        content = cases.content if isinstance(cases, CaseFile) else None
        content = read_file(Path(name)) if content is None else content
        if suffix == ".parquet":
            return _of_parquet(content, short)
        if suffix == ".csv":
            return _of_csv(content, short)
        text = content.decode("utf-8-sig")
        if suffix == ".json":
            return _of_dicts(json.loads(text), short)
        return _of_dicts(list(json_objects(StringIO(text, newline=None))), short)
    except InputError:
        raise
    except UnicodeDecodeError as exc:
        msg = f"{name} is not UTF-8 at byte {exc.start}: save it as UTF-8"
        raise InputError(msg) from exc
    except _UNREADABLE as exc:
        kind = "" if isinstance(exc, OSError) else f" as {suffix.removeprefix('.')}"
        msg = f"{name} cannot be read{kind}: {getattr(exc, 'strerror', None) or exc}"
        raise InputError(msg) from exc


def _of_csv(content: bytes, name: str) -> Table:
    _, head, lines = csv_table(content)
    names = [column.strip() for column in head]
    _check_columns(names, name)
    rows = [
        {
            name: unguarded(text) if was_quoted else Bare(unguarded(text))
            for name, (text, was_quoted) in zip(names, cells, strict=True)
            if text or was_quoted
        }
        for cells in lines
    ]
    return Table([row for row in rows if row or len(names) > 1], tuple(names), "csv", name)


def _of_parquet(content: bytes, name: str) -> Table:
    """Read a Parquet file, unless its unpacked size is too large."""
    try:
        import pyarrow.parquet as pq
    except ImportError as exc:
        msg = f"{name} needs pyarrow: pip install 'vellum-nb[parquet]'"
        raise InputError(msg) from exc
    parquet = pq.ParquetFile(BytesIO(content))
    _check_columns(parquet.schema_arrow.names, name)
    if parquet.metadata.num_rows > MOST_RUNS:
        msg = (
            f"{name} has {parquet.metadata.num_rows:,} rows; a sweep has {MOST_RUNS:,} runs at most"
        )
        raise InputError(msg)
    size = 0
    for batch in parquet.iter_batches(batch_size=10_000):
        for column in batch.columns:
            is_packed = hasattr(column, "dictionary_decode")
            size += (column.dictionary_decode() if is_packed else column).nbytes
        if size > _MAX_PARQUET_BYTES:
            msg = (
                f"The {parquet.metadata.num_rows:,} rows of {name} unpack to over "
                f"{_MAX_PARQUET_BYTES // 10**6:,} MB: split the file, or give a DataFrame"
            )
            raise InputError(msg)
    return _of_frame(pd.read_parquet(BytesIO(content)), name)


def _of_frame(frame: Any, name: str) -> Table:
    names = [str(column).strip() for column in frame.columns]
    _check_columns(names, name)
    columns = [frame.iloc[:, at] for at in range(len(names))]
    cells = [zip(c.tolist(), c.isna().tolist(), strict=True) for c in columns]
    rows = [
        {
            name: value
            for name, (value, is_missing) in zip(names, row, strict=True)
            if not is_missing
        }
        for row in zip(*cells, strict=True)
    ]
    return Table(rows, tuple(names), "frame", name)


def _of_dicts(cases: Any, name: str) -> Table:
    if not isinstance(cases, list):
        msg = f"{name} holds {format_value(cases)}; a list of objects is expected"
        raise InputError(msg)
    rows: list[dict[str, Any]] = []
    has_runs = False
    for number, case in enumerate(cases, start=1):
        row = vars(case) if isinstance(case, Run) else case
        if not isinstance(row, Mapping):
            msg = f"Case {number} of {name} is {format_value(case)}; each must be a dict of inputs"
            raise InputError(msg)
        if set(row) >= _OF_A_RUN:
            has_runs = True
            parts = [("input", "inputs"), ("expected", "desired"), ("label", "labels")]
            parts += [("output", "outputs")]
            cells = {f"{use}.{k}": v for use, key in parts for k, v in (row.get(key) or {}).items()}
            keys = ("deployment", "execution_id", "conversation_id", "turn", PREVIOUS, "quality")
            rows.append(cells | {key: row[key] for key in keys if row.get(key)})
        else:
            rows.append({str(key): value for key, value in row.items()})
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    form: Literal["frame", "dicts"] = "frame" if set(columns) >= _OF_A_HISTORY else "dicts"
    return Table(rows, columns, form, name, has_runs)


def _check_columns(names: Sequence[str], where: str) -> None:
    if len(names) > _MAX_COLUMNS:
        msg = f"{where} has {len(names):,} columns; a table of cases has at most {_MAX_COLUMNS:,}"
        raise InputError(msg)
    repeated = dict.fromkeys(name for name in names if name and names.count(name) > 1)
    if repeated:
        msg = f"Several columns of {where} are called {', '.join(repeated)}; rename all but one"
        raise InputError(msg)


def _renamed(table: Table, names: Mapping[str, str | None]) -> Table:
    columns = {column: names.get(column, column) for column in table.columns}
    present = tuple(column for column in columns.values() if column is not None)
    _check_columns(present, table.name)
    rows = [
        {new: row[old] for old, new in columns.items() if new is not None and old in row}
        for row in table.rows
    ]
    return replace(table, rows=rows, columns=present)


def has_turns(table: Table, releases: Releases) -> bool:
    """Return whether the rows of a table are conversations, or turns of conversations.

    Stored turns are an `InputError`: each release would continue the answers of another one.
    """
    if table.stored:
        if any(row.get("conversation_id") for row in table.rows):
            msg = f"{table.name} has runs of conversations; give their turns: {{'turns': [...]}}"
            raise InputError(msg)
        return False
    versions = (release.workflow_version for release in releases.values() if release is not None)
    inputs = {variable.key for version in versions for variable in version.input_variables}
    columns = set(table.columns) - inputs
    return TURNS in columns or {CONVERSATION, TURN} <= columns


def column_uses(table: Table, variables: Iterable[str] | None) -> dict[str, tuple[Use, str]]:
    """Return the use of each column, and its name without the prefix; ignored columns are left out.

    For stored runs, only columns with a prefix count. `variables` are the inputs of all releases;
    if they are not readable, every column without another use is an input.
    """
    uses: dict[str, tuple[Use, str]] = {}
    columns: dict[tuple[Use, str], str] = {}
    inputs = None if variables is None else frozenset(variables)
    has_prefix = any(column.startswith("input.") for column in table.columns)
    # ``expected.x`` goes before ``desired.x``, and ``label.note`` before the history's own column.
    for column in sorted(
        table.columns, key=lambda name: not name.startswith(("expected.", "label."))
    ):
        use = _column_use(column, table, inputs, has_prefix=has_prefix)
        if use is None:
            continue
        first = columns.setdefault(use, column)
        if first == column:
            uses[column] = use
        elif use[0] == "input" or (use[0] == "label" and not table.stored):
            both = f"{first} and {column} of {table.name}"
            msg = f"{both} are both the {use[0]} {use[1]}; leave one out"
            raise InputError(msg)
    return {column: uses[column] for column in table.columns if column in uses}


def _column_use(
    column: str, table: Table, inputs: frozenset[str] | None, *, has_prefix: bool
) -> tuple[Use, str] | None:
    prefix, _, name = column.partition(".")
    if name and prefix in _USES:
        return _USES[prefix], name
    if column == PREVIOUS and (inputs is None or column not in inputs):
        return "previous", column
    if table.stored:
        return ("label", column) if column in _HISTORY_LABELS else None
    if not column or column.startswith("Unnamed: "):  # pandas: a column without a name
        return None
    if inputs is None:
        return "label" if has_prefix or column == MOCKS else "input", column
    return "input" if column in inputs else "label", column


def _typed_value(value: Any, variable: VellumVariable | None, table: Table) -> Any:
    """Convert a cell to the type of its variable; raise an `InputError` for broken JSON."""
    if not isinstance(value, str):  # pandas stores integers as floats if some are missing
        type_ = ((variable and variable.json_schema) or {}).get("type")
        is_whole = type_ == "integer" and table.form == "frame" and isinstance(value, float)
        return int(value) if is_whole and value.is_integer() else value
    if variable is None:
        parsed = value if table.form == "dicts" else _parsed(value, strict=False)
        return typed(parsed) if isinstance(parsed, Bare) else parsed
    kind = field_kind(variable)
    if variable.type in _NEVER_TEXT or (kind in MEDIA and value.startswith("{")):
        return _parsed(str(value))
    is_text = kind in MEDIA or kind == "text" or (kind == "enum" and variable.type == "STRING")
    if is_text or table.form == "dicts":
        return str(value)
    if table.form == "frame" or (table.stored and not isinstance(value, Bare)):
        return _parsed(value, strict=False)
    return _csv_value(str(value), kind, variable)


def _csv_value(text: str, kind: str, variable: VellumVariable) -> Any:
    if kind == "enum" and text in (variable.json_schema or {}).get("enum", ()):
        return text
    if kind == "bool":
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if kind == "number":
        return typed(text.strip())
    if text.startswith(("{", "[")):
        return _parsed(text)
    with suppress(ValueError):
        return json.loads(text)
    return typed(text)


def _parsed(text: str, *, strict: bool = True) -> Any:
    """Parse a JSON object or array; other text is returned unchanged."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        if not strict:
            return text
        reason = exc if isinstance(exc, ValueError) else "it is nested too deep"
        hint = "; json.dumps writes it" if "'" in text else ""
        msg = f"{format_value(str(text))} is not JSON: {reason}{hint}"
        raise InputError(msg) from None


def checked_cases(
    table: Table,
    releases: Releases,
    deployment: str,
    *,
    files: str | Path | None = None,
) -> CheckedCases:
    """Return the cases of `table`, checked on every release.

    Raises an `InputError` with all problems. `files` is the folder of the files that image, audio,
    video and document cells name.
    """
    folder = None if files is None else _folder(files)
    return _Checker(table, releases, deployment, folder).checked()


def _folder(files: object) -> Path:
    if isinstance(files, str | Path) and str(files).strip():
        with suppress(OSError, ValueError, RuntimeError):  # a null character, an unknown user
            folder = Path(os.path.realpath(Path(files).expanduser()))
            if folder.is_dir():
                return folder
    refuse("files", files, "a folder that exists, such as files='attachments'")


def _file_in(folder: Path, name: str) -> Path:
    """Resolve a relative name in `folder`; links cannot leave it."""
    path, is_file = folder, False
    with suppress(OSError, ValueError):  # name too long, or with a null character
        path = Path(os.path.realpath(folder / name))
        is_file = path.is_file()
    if PurePath(name).is_absolute() or not path.is_relative_to(folder):
        problem, remedy = "is not in", "copy the file into it, and give its name there"
    elif not is_file:
        problem, remedy = "is no file in", "give the name of one that is, or files= another folder"
    else:
        return path
    msg = f"{name!r:.60} {problem} the folder {str(folder)!r}; {remedy}"
    raise InputError(msg)


def _with_files(value: Any, type_: str, folder: Path, depth: int = 0) -> Any:
    """Replace the names of media files in an input by their paths in `folder`."""
    if isinstance(value, str) and type_ in MEDIA_TYPES:
        return value if value.startswith(ADDRESSES) else _file_in(folder, value)
    if type_ != "CHAT_HISTORY" or depth > _MAX_MEDIA_DEPTH:
        return value
    if isinstance(value, list):
        return [_with_files(item, type_, folder, depth + 1) for item in value]
    if isinstance(value, Mapping):
        kind = str(value.get("type"))
        types = {"value": kind} if kind in MEDIA_TYPES else {}
        return {
            key: _with_files(item, types.get(key, type_), folder, depth + 1)
            for key, item in value.items()
        }
    return value


def _is_mock(mock: Any) -> bool:
    if not isinstance(mock, Mapping) or not isinstance(mock.get("node_id"), str):
        return False
    return isinstance(mock.get("then_outputs"), Mapping)


def _execution_id(value: Any) -> str | None:
    if value is None or value != value:  # noqa: PLR0124  (NaN)
        return None
    if isinstance(value, str | UUID):
        return str(value).strip() or None
    msg = f"{format_value(value)} is given; the id of an execution is expected, as text"
    raise InputError(msg)


class _Checker:
    def __init__(
        self,
        table: Table,
        releases: Releases,
        deployment: str,
        files: Path | None,
    ) -> None:
        self._table, self._deployment = table, deployment
        self._files = None if table.stored else files  # a history names no files of yours
        self._tags, self._releases = tuple(releases), releases
        versions = [release.workflow_version for release in releases.values() if release]
        self._outputs = {v.key: v for version in versions for v in version.output_variables}
        inputs = {v.key: v for version in reversed(versions) for v in version.input_variables}
        self._inputs = inputs if versions else None
        self._groups: list[tuple[list[str], Sequence[VellumVariable] | None]] = []
        for tag, release in releases.items():  # tags with equal inputs are checked once
            variables = None if release is None else release.workflow_version.input_variables
            tags = next((tags for tags, checked in self._groups if checked == variables), None)
            if tags is None:
                self._groups.append(([tag], variables))
            else:
                tags.append(tag)
        self._uses = column_uses(table, self._inputs)
        names: dict[Use, list[str]] = {"input": [], "expected": [], "label": [], "previous": []}
        for use, name in dict.fromkeys(self._uses.values()):
            names[use].append(name)
        self._names = names
        self._labels = {  # without those of a history, and those that the user calls labels
            column: name
            for column, (use, name) in self._uses.items()
            if use == "label"
            and not (column in _HISTORY_LABELS if table.stored else column.startswith("label."))
        }
        self._unmet = [name for name in self._outputs if name not in names["expected"]]
        missing = [name for name in self._inputs or () if name not in names["input"]]
        close = {name: get_close_matches(name, missing, 1, 0.75) for name in self._labels.values()}
        self._mistyped = {label: matches[0] for label, matches in close.items() if matches}
        self._questions = {name: dict(self._asked(n)) for name, n in self._labels.items()}
        self._problems: list[InputProblem] = []
        self._notes: list[str] = []

    def checked(self) -> CheckedCases:
        """Check all cases, and report all problems together."""
        self._check_names()
        rows = list(enumerate(self._table.rows, start=1))
        matching = [row for row in rows if row[1].get("deployment") == self._deployment]
        if self._table.stored and 0 < len(matching) < len(rows):
            skipped = len(rows) - len(matching)
            self._notes.append(f"{skipped:,} runs of other deployments are left out")
            rows = matching
        cases = [self._case(number, row) for number, row in rows]
        if self._problems:
            values = plural(len(self._problems), "value does", "values do")
            msg = f"{self._table.name}: {values} not fit {self._deployment}; nothing was sent:"
            error = InputError(msg, self._problems)
            error.columns = self._columns()
            raise error
        cases = self._unique(_with_scripts(cases, self._table.carry))
        inputs = dict.fromkeys(name for case in cases for name in case.inputs)
        not_sent = []
        for tags, variables in self._groups if self._inputs is not None else ():
            keys = inputs.keys() if variables is None else {v.key for v in variables}
            if names := ", ".join(name for name in inputs if name not in keys):
                tag_names = ", ".join(tags)
                not_sent.append(f"{names}: not sent to {tag_names}, which knows no such input")
        talks = list(conversations(cases))
        first = talks[: self._table.first]
        if omitted := len(talks) - len(first):
            of_all = f"the first {len(first):,} of the {len(talks):,} cases of {self._table.name}"
            self._notes.insert(0, of_all)
        notes = (*not_sent, *self._notes)
        return CheckedCases([*chain.from_iterable(first)], notes, self._columns(), omitted)

    def _check_names(self) -> None:
        """Note names that look misspelt; a name that no release knows is a problem."""
        self._notes += chain.from_iterable(self._questions.values())
        inputs = self._inputs
        for name in self._names["input"]:
            if inputs is not None and name not in inputs and not self._table.stored:
                kind = f"an input of {self._deployment} on {', '.join(self._tags)}"
                problem = unknown_name(name, inputs, kind)
                self._problems.append(replace(problem, variable=f"input.{name}"))
        for column, (use, name) in self._uses.items() if self._outputs else ():
            if use == "expected":
                self._check_expected(column, name)

    def _asked(self, label: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield notes on a label that could be an input or expected value, and its likely names."""
        if variable := self._mistyped.get(label):
            meant = f"input.{variable}" if self._table.stored else variable
            yield f"the column {label} is used as a label; did you mean {variable}?", (meant,)
        if note := label_note(label, self._unmet):
            yield note, tuple(f"expected.{name}" for name in outputs_meant(label, self._unmet))

    def _columns(self) -> tuple[CaseColumn, ...]:
        problems = {problem.variable: problem for problem in self._problems if problem.row is None}
        columns = []
        for column, (use, _) in self._uses.items():
            if problem := problems.get(column):
                name = problem.suggestion
                is_free = name and name not in self._names[use]
                meant = [f"{column.partition('.')[0]}.{name}"] if is_free else []
                columns.append(CaseColumn(column, use, problem.message, meant=tuple(meant)))
            else:
                questions = self._questions.get(column, {})
                names = tuple(chain.from_iterable(questions.values()))
                columns.append(CaseColumn(column, use, notes=tuple(questions), meant=names))
        return tuple(columns)

    def _check_expected(self, column: str, name: str) -> None:
        """Note the releases without an output; if all lack it, it is a problem.

        Corrections in a history can belong to older releases.
        """
        outputs = {
            tag: {variable.key for variable in release.workflow_version.output_variables}
            for tag, release in self._releases.items()
            if release is not None
        }
        lacking = [tag for tag, names in outputs.items() if names and name not in names]
        what = f"an output of {self._deployment} on {', '.join(self._tags)}"
        problem = expected_problem(column, self._outputs, what)
        if problem is None:
            if lacking:
                tags = ", ".join(lacking)
                self._notes.append(f"{column} is never met on {tags}: no output has that name")
            return
        is_correction = column.startswith("desired.") and self._table.stored
        if self._table.has_runs or is_correction or len(lacking) < len(self._tags):
            self._notes.append(f"{column} {problem.message}")
        else:
            self._problems.append(problem)

    def _case(self, number: int, row: Mapping[str, Any]) -> SweepCase:
        """Return a case; its problems are recorded, and it is empty then."""
        sides: dict[Use, dict[str, Any]] = {use: {} for use in self._names}
        before = len(self._problems)
        for column, (use, name) in self._uses.items():
            if column in row:
                try:
                    sides[use][name] = self._value(use, name, row[column])
                except InputError as exc:
                    variable = name if use == "input" else column
                    self._problems.append(InputProblem(variable, str(exc), number))
        inputs = self._fitting(number, sides["input"]) if before == len(self._problems) else {}
        labels, previous = dict(sides["label"]), sides["previous"].get(PREVIOUS)
        identity: Mapping[str, Any] = inputs
        if mocks := labels.pop(MOCKS, None):
            if not isinstance(mocks, list) or not all(map(_is_mock, mocks)):
                message = (
                    "is not a list of node output mocks, such as "
                    '[{"node_id": "...", "then_outputs": {"text": "hello"}}]; rename the column if '
                    "it is a label"
                )
                self._problems.append(InputProblem(MOCKS, message, number))
            labels[MOCKS] = mocks
            identity = {**inputs, MOCKS_METADATA: mocks}
        turn = labels.pop("turn") if self._table.carry else 0
        identifier = case_id(identity, previous)
        return SweepCase(number, identifier, inputs, sides["expected"], labels, previous, turn)

    def _value(self, use: Use, name: str, value: Any) -> Any:
        if use == "input":
            return self._input(name, value)
        if use == "previous":
            return _execution_id(value)
        if use == "expected":
            return plain(_typed_value(value, self._outputs.get(name), self._table))
        value = _typed_value(value, None, self._table)
        with suppress(InputError):
            return plain(value)
        with suppress(ValueError, RecursionError):  # `format_value` handles these
            return str(value)
        return format_value(value)

    def _input(self, name: str, value: Any) -> Any:
        variable = (self._inputs or {}).get(name)
        natural = _typed_value(value, variable, self._table)
        if variable is None or self._files is None:
            return natural
        return _with_files(natural, variable.type, self._files)

    def _fitting(self, number: int, inputs: dict[str, Any]) -> dict[str, Any]:
        """Convert the inputs to JSON values, in their order; record problems."""
        sent: dict[str, Any] = {}
        problems: dict[tuple[str, str], list[str]] = {}
        for tags, variables in self._groups:
            keys = inputs.keys() if variables is None else {v.key for v in variables}
            accepted = {name: value for name, value in inputs.items() if name in keys}
            try:
                wire = to_wire(accepted, variables, where=f"{self._deployment} {tags[0]}")
                sent = {variable.name: variable.value for variable in wire} | sent
            except InputError as exc:
                for problem in exc.problems:
                    problems.setdefault((problem.variable, problem.message), []).extend(tags)
        for (variable, message), tags in problems.items():
            labels = [label for label, name in self._mistyped.items() if name == variable]
            text = f"{message}; is the column {' or '.join(labels)} meant?" if labels else message
            text += "" if len(tags) == len(self._tags) else f", on {', '.join(tags)}"
            if self._is_untyped(variable, inputs.get(variable)):
                text += _TYPED
            self._problems.append(InputProblem(variable, text, number))
        try:  # inputs that no release knows are part of the case
            unknown = () if self._inputs is None else inputs.keys() - self._inputs.keys()
            sent |= {name: plain(inputs[name]) for name in unknown}
            return {name: sent[name] for name in inputs if name in sent}
        except InputError as exc:
            self._problems.append(InputProblem(", ".join(inputs), str(exc), number))
            return {}

    def _is_untyped(self, name: str, value: Any) -> bool:
        """Return whether a DataFrame has text in place of a typed value."""
        variable = (self._inputs or {}).get(name)
        is_media = variable is not None and variable.type in MEDIA_TYPES
        return self._table.name == _OF_A_FRAME and isinstance(value, str) and not is_media

    def _unique(self, cases: Sequence[SweepCase]) -> list[SweepCase]:
        """Return stored cases once, with expected values of any run; note other duplicates."""
        if self._table.keeps_duplicates:
            return list(cases)
        first: dict[str, SweepCase] = {}
        duplicates, contradiction = [], ""
        for case in (case for case in cases if case.turn <= 1):
            earlier = first.setdefault(case.case_id, case)
            if earlier is not case:
                duplicates.append(f"row {case.position:,} of row {earlier.position:,}")
            if case.expected and earlier.expected not in ({}, case.expected):
                contradiction = (
                    f"; it expects what row {earlier.position:,} expects, not row {case.position:,}"
                )
            if case.expected and not earlier.expected:
                first[case.case_id] = replace(earlier, expected=case.expected)
        if duplicates and self._table.stored:
            self._notes.append(f"{len(cases):,} runs are of {len(first):,} cases, each used once")
        elif duplicates:
            rows = plural(len(duplicates), "row has", "rows have")
            self._notes.append(
                f"{rows} the inputs of an earlier one, such as {duplicates[0]}: all are sent, and "
                f"a comparison counts them as one case{contradiction}"
            )
        unique = list(first.values()) if self._table.stored else cases
        return [replace(case, position=position) for position, case in enumerate(unique)]


def _with_scripts(cases: Sequence[SweepCase], carry: str) -> list[SweepCase]:
    """Return the cases, with each turn under the id of the whole script of its conversation."""
    scripted: list[SweepCase] = []
    for turns in conversations(cases):
        script = turns[0].case_id
        if turns[0].turn:
            script = case_id({"turns": [turn.case_id for turn in turns], "carry": carry})
        scripted += [replace(turn, case_id=script) for turn in turns]
    return scripted
