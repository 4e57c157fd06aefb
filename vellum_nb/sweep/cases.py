"""The cases of a sweep: tables of any kind, read, typed and checked on every release."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from io import BytesIO, StringIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.history import SEPARATORS, Separator, split, typed, unguarded
from vellum_nb.models import Run, VellumVariable, WorkflowDeploymentRelease, case_id
from vellum_nb.models.inputs import field_kind, format_value, plain, to_wire
from vellum_nb.models.sweeps import SweepCase

if TYPE_CHECKING:
    import pandas as pd


Cases: TypeAlias = "pd.DataFrame | Iterable[Mapping[str, Any] | Run] | str | Path | CaseFile"
"""What a sweep takes as its cases."""

MOCKS = "node_output_mocks"
"""Key of the metadata in which a local server takes the mocks of a run."""
_OF_A_HISTORY = frozenset({"execution_id", "release_tag", "timestamp", "deployment", "case_id"})
_OF_A_RUN = frozenset({"id", "inputs", "deployment", "case_id", "state"})
OF_A_FRAME = "the DataFrame"
_IN_QUOTES = re.compile(r'"[^"]*"')
_LONGEST_HEAD = 100_000
_LARGEST = 500_000_000  # bytes of a file
_MOST_COLUMNS = 2_000
_LARGEST_UNPACKED = 1_000_000_000  # bytes of the values of a Parquet file
SUFFIXES = (".csv", ".jsonl", ".ndjson", ".json", ".parquet")
"""How the name of a file of cases may end."""


@dataclass(frozen=True, slots=True)
class CaseFile:
    r"""A file of cases that is in memory; its name tells the format.

    Attributes
    ----------
    name : str
        Its name, or path.
    content : bytes
        All of it.

    Examples
    --------
    >>> read_table(CaseFile("cases.csv", b"ticket\nlost my card\n")).rows
    [{'ticket': 'lost my card'}]
    """

    name: str
    content: bytes = field(repr=False)


class Bare(str):
    """A cell of a CSV that stood without quotes."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as they were given.

    Attributes
    ----------
    rows : list of dict
        Column to value; what is missing is left out.
    columns : tuple of str
        All columns, in their order.
    form : {"csv", "frame", "dicts"}
        ``csv``: every value is text. ``frame``: structured values may be JSON text. ``dicts``:
        values are as they are meant.
    stored : bool
        Whether these are runs of a history, with its columns.
    name : str
        What messages call it.
    """

    rows: list[dict[str, Any]]
    columns: tuple[str, ...]
    form: Literal["csv", "frame", "dicts"]
    stored: bool
    name: str


def read_table(cases: Cases) -> Table:
    """Return the table that `cases` is.

    Raises
    ------
    InputError
        The file cannot be read, `cases` is no table, or it has no rows.
    """
    if isinstance(cases, str | Path):
        table = _of_file(_loaded(Path(cases)))
    elif isinstance(cases, CaseFile):
        table = _of_file(cases)
    elif hasattr(cases, "to_dict") and hasattr(cases, "columns"):
        table = _of_frame(cases, OF_A_FRAME)
    else:
        table = _of_dicts(_listed(cases), "the list")
    if not table.rows:
        msg = f"{table.name} has no rows: a sweep needs at least one case"
        raise InputError(msg)
    return table


def _listed(cases: object) -> list[Any]:
    if isinstance(cases, Run):
        return [cases]
    if isinstance(cases, Mapping) or not isinstance(cases, Iterable):
        msg = (
            f"{format_value(cases)} is no table of cases; give a DataFrame, a list of dicts "
            "([{'ticket': '...'}, ...]), runs, or the path of a file"
        )
        raise InputError(msg)
    return list(cases)


def _of_dicts(cases: Sequence[Any], name: str) -> Table:
    rows: list[dict[str, Any]] = []
    stored = False
    for number, case in enumerate(cases, start=1):
        if isinstance(case, Run):
            case = vars(case)  # noqa: PLW2901
        if not isinstance(case, Mapping):
            msg = f"Case {number} of {name} is {format_value(case)}; each must be a dict of inputs"
            raise InputError(msg)
        if set(case) >= _OF_A_RUN:
            stored = True
            rows.append(_row_of_run(case))
        else:
            rows.append({str(key): value for key, value in case.items()})
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    stored = stored or columns_of_history(columns)
    return Table(rows, columns, "frame" if columns_of_history(columns) else "dicts", stored, name)


def columns_of_history(columns: Iterable[str]) -> bool:
    """Return whether these are the columns of a history's frame."""
    return set(columns) >= _OF_A_HISTORY


def _row_of_run(run: Mapping[str, Any]) -> dict[str, Any]:
    row = {f"input.{name}": value for name, value in run["inputs"].items()}
    row |= {f"expected.{name}": value for name, value in (run.get("desired") or {}).items()}
    row |= {f"label.{name}": value for name, value in (run.get("labels") or {}).items()}
    row["deployment"] = run["deployment"]
    if run.get("execution_id"):
        row["execution_id"] = run["execution_id"]
    return row


def _of_frame(frame: Any, name: str) -> Table:
    names = [str(column).strip() for column in frame.columns]
    _refuse_repeated(names, name)
    columns = []
    for at in range(len(names)):
        column = frame.iloc[:, at]
        columns.append(zip(column.tolist(), column.isna().tolist(), strict=True))
    rows = [
        {names[at]: value for at, (value, is_missing) in enumerate(cells) if not is_missing}
        for cells in zip(*columns, strict=True)
    ]
    return Table(rows, tuple(names), "frame", columns_of_history(names), name)


def _loaded(path: Path) -> CaseFile:
    _reader(str(path))
    try:
        path = path.expanduser()
        _refuse_file(path)
        return CaseFile(str(path), path.read_bytes())
    except (OSError, RuntimeError, ValueError) as exc:  # no home; a path with a zero byte
        msg = f"{path} cannot be read: {getattr(exc, 'strerror', None) or exc}"
        raise InputError(msg) from exc


def _reader(name: str) -> Callable[[CaseFile], Table]:
    readers = {
        ".csv": _of_csv,
        ".jsonl": _of_json_lines,
        ".ndjson": _of_json_lines,
        ".json": _of_json,
        ".parquet": _of_parquet,
    }
    read = readers.get(PurePath(name).suffix.lower())
    if read is None:
        msg = f"Cannot tell the format of {name}: its name must end in one of {', '.join(SUFFIXES)}"
        raise InputError(msg)
    return read


def _of_file(file: CaseFile) -> Table:
    try:
        return _reader(file.name)(file)
    except UnicodeDecodeError as exc:
        msg = f"{file.name} is not UTF-8 ({exc.reason} at byte {exc.start}): save it as UTF-8"
        raise InputError(msg) from exc


def _text(file: CaseFile) -> str:
    return file.content.decode("utf-8-sig")


def _short(file: CaseFile) -> str:
    return PurePath(file.name).name


def _of_csv(file: CaseFile) -> Table:
    head, *rows = _rows_of_csv(file) or [[]]
    names = [unguarded(cell).strip() for cell, _ in head]
    _refuse_many_columns(len(names), _short(file))
    _refuse_repeated(names, _short(file))
    places = (f"{file.name}, row {number}" for number in range(1, len(rows) + 1))
    found = [_csv_row(names, row, where) for row, where in zip(rows, places, strict=True)]
    return Table(found, tuple(names), "csv", columns_of_history(names), _short(file))


def _rows_of_csv(file: CaseFile) -> list[list[tuple[str, bool]]]:
    """Return header and rows without empty lines; messages count as the table of problems does."""
    text = _text(file)
    found: list[list[tuple[str, bool]]] = []
    try:
        for row in split(text, _separator(text)):
            if row != [("", False)] or not found:
                found.append(row)
    except ValueError as exc:
        where = f"row {len(found)}" if found else "the header"
        msg = f"{file.name} is no CSV: {where}: {str(exc).partition(': ')[2]}"
        raise InputError(msg) from exc
    return found


def _separator(text: str) -> Separator:
    """Return what separates the columns: spreadsheets write semicolons where 1,5 is a number."""
    head = re.split(r"[\r\n]", _IN_QUOTES.sub("", text[:_LONGEST_HEAD]), maxsplit=1)[0]
    return next((mark for mark in SEPARATORS if mark in head), SEPARATORS[0])


def _csv_row(names: Sequence[str], row: Sequence[tuple[str, bool]], where: str) -> dict[str, Any]:
    if len(row) != len(names):
        msg = f"{where} has {len(row)} cells, the header has {len(names)}"
        raise InputError(msg)
    return {
        name: unguarded(text) if was_quoted else Bare(unguarded(text))
        for name, (text, was_quoted) in zip(names, row, strict=True)
        if text or was_quoted
    }


def _of_json(file: CaseFile) -> Table:
    try:
        found = json.loads(_text(file))
    except (json.JSONDecodeError, RecursionError) as exc:
        msg = f"{file.name} is no JSON: {exc}"
        raise InputError(msg) from exc
    if not isinstance(found, list):
        msg = f"{file.name} holds {format_value(found)}; a list of objects is expected"
        raise InputError(msg)
    return _of_dicts(found, _short(file))


def _of_json_lines(file: CaseFile) -> Table:
    return _of_dicts(list(_json_lines(file)), _short(file))


def _json_lines(file: CaseFile) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(StringIO(_text(file), newline=None), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as exc:
            msg = f"{file.name}, line {number}: {exc}; each line must be a JSON object"
            raise InputError(msg) from exc
        if not isinstance(found, dict):
            what = format_value(found)
            msg = f"{file.name}, line {number} holds {what}; it must be a JSON object"
            raise InputError(msg)
        yield found


def _of_parquet(file: CaseFile) -> Table:
    import pandas as pd

    try:
        _refuse_large_parquet(file)
        return _of_frame(pd.read_parquet(BytesIO(file.content)), _short(file))
    except (ImportError, ValueError, OSError) as exc:  # pyarrow's own errors are one of them
        msg = f"{file.name} cannot be read as Parquet: {exc}"
        raise InputError(msg) from exc


def _refuse_file(path: Path) -> None:
    if path.exists() and not path.is_file():
        msg = f"{path} is no regular file, so it cannot be read as cases"
        raise InputError(msg)
    size = path.stat().st_size
    if size > _LARGEST:
        msg = (
            f"{path} has {size / 1e6:,.0f} MB; at most {_LARGEST // 10**6:,} MB are read as cases: "
            "split it, or give a DataFrame"
        )
        raise InputError(msg)


def _refuse_large_parquet(file: CaseFile) -> None:
    """Refuse a file that unpacks to much more than it is: its footer says how much of what."""
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(BytesIO(file.content))
    _refuse_many_columns(len(parquet.schema_arrow.names), _short(file))
    size = 0
    for batch in parquet.iter_batches(batch_size=10_000):
        for column in batch.columns:
            plain = column.dictionary_decode() if hasattr(column, "dictionary_decode") else column
            size += plain.nbytes
        if size > _LARGEST_UNPACKED:
            limit = f"{_LARGEST_UNPACKED // 10**6:,} MB"
            msg = (
                f"The {parquet.metadata.num_rows:,} rows of {_short(file)} unpack to over {limit}: "
                "split the file, or give a DataFrame"
            )
            raise InputError(msg)


def _refuse_many_columns(count: int, name: str) -> None:
    if count > _MOST_COLUMNS:
        msg = f"{name} has {count:,} columns; a table of cases has at most {_MOST_COLUMNS:,}"
        raise InputError(msg)


def _refuse_repeated(names: Sequence[str], where: str) -> None:
    counts = Counter(names)
    repeated = [name for name, count in counts.items() if name and count > 1]
    if repeated:
        msg = f"Several columns of {where} are called {', '.join(repeated)}; rename all but one"
        raise InputError(msg)


Use = Literal["input", "expected", "label"]

_ROOMS: dict[str, Use] = {
    "input": "input",
    "expected": "expected",
    "desired": "expected",
    "label": "label",
}
_HISTORY_LABELS = frozenset({"execution_id", "note", "tags"})
_UNNAMED = "Unnamed: "  # as pandas calls a column without a name


@dataclass(frozen=True, slots=True)
class Columns:
    """Column name to what it is for, and the name it has there; what is ignored is absent."""

    uses: dict[str, tuple[Use, str]]

    def of(self, use: Use) -> list[str]:
        """Return the names that columns of this use stand for."""
        return list(dict.fromkeys(name for found, name in self.uses.values() if found == use))

    def doubtful(self, variables: Iterable[str]) -> dict[str, str]:
        """Return labels that look like a mistyped input: the label, and the variable meant."""
        free = [name for name in variables if name not in self.of("input")]
        labels = [] if not free else self.of("label")
        found = {label: get_close_matches(label, free, n=1, cutoff=0.75) for label in labels}
        return {label: close[0] for label, close in found.items() if close}


def sorted_out(table: Table, variables: Collection[str] | None) -> Columns:
    """Return what the columns of `table` are for.

    Parameters
    ----------
    table
        In one of stored runs only ``input.…``, ``desired.…`` and the like count, since the
        columns of the history may be called as a variable is.
    variables
        The input variables of all releases; None where they cannot be read: then every column is
        an input that is not named otherwise.

    Raises
    ------
    InputError
        Two columns are the same input or the same expected output.
    """
    prefixed = any(name.startswith("input.") for name in table.columns)
    uses: dict[str, tuple[Use, str]] = {}
    for name in table.columns:
        use = _use(name, variables, stored=table.stored, prefixed=prefixed)
        if use is not None:
            uses[name] = use
    return Columns(_without_twins(uses, table))


def _use(
    name: str, variables: Collection[str] | None, *, stored: bool, prefixed: bool
) -> tuple[Use, str] | None:
    room, _, rest = name.partition(".")
    if rest and room in _ROOMS:
        return _ROOMS[room], rest
    if stored:
        return ("label", name) if name in _HISTORY_LABELS else None
    if not name or name.startswith(_UNNAMED):
        return None
    is_input = not prefixed if variables is None else name in variables
    return ("input" if is_input else "label"), name


def _without_twins(uses: dict[str, tuple[Use, str]], table: Table) -> dict[str, tuple[Use, str]]:
    """Return `uses`; of two inputs of one name neither may give way, which is refused.

    ``expected.x`` goes before ``desired.x``, and a label that is called so before the history's
    own column; any other label gets the name of its column.
    """
    seen: dict[tuple[Use, str], str] = {}
    unique: dict[str, tuple[Use, str]] = {}
    for column in sorted(uses, key=_rank):
        use = uses[column]
        other = seen.setdefault(use, column)
        if other == column:
            unique[column] = use
        elif use[0] == "input":
            both = f"{other} and {column} of {table.name}"
            msg = f"{both} are both the input {use[1]}; leave one out"
            raise InputError(msg)
        elif use[0] == "label" and not table.stored:
            unique[column] = ("label", column)
    return {column: unique[column] for column in uses if column in unique}


def _rank(column: str) -> int:
    if column.startswith(("expected.", "label.")):
        return 0
    return 2 if column.startswith("desired.") else 1


_STRUCTURED = ("{", "[")
_NEVER_TEXT = frozenset({"CHAT_HISTORY", "ARRAY", "SEARCH_RESULTS", "FUNCTION_CALL"})
_MEDIA = frozenset({"image", "audio", "video", "document"})


def natural(value: Any, variable: VellumVariable, table: Table) -> Any:
    """Return what `value` of `table` is for `variable`.

    Raises
    ------
    InputError
        It looks like JSON and is none.
    """
    kind = field_kind(variable)
    if not isinstance(value, str):
        return _whole(value, variable) if table.form == "frame" else value
    if kind == "text" or (kind == "enum" and variable.type == "STRING"):
        return str(value)
    if variable.type in _NEVER_TEXT or (kind in _MEDIA and value.startswith("{")):
        return _parsed(value)
    if kind in _MEDIA or table.form == "dicts":
        return str(value)
    if table.form == "csv" and not (table.stored and not isinstance(value, Bare)):
        return _text_of_csv(value, kind, variable)
    return _text_of_frame(value)


def untyped(value: Any, table: Table) -> Any:
    """Return what `value` is where no variable tells: CSV cells without quotes may be numbers."""
    if not isinstance(value, str) or table.form == "dicts":
        return value
    found = _text_of_frame(value)
    return typed(found) if isinstance(found, Bare) else found


def _text_of_frame(text: str) -> Any:
    """Return structured JSON as itself; all other text is text."""
    if not text.startswith(_STRUCTURED):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _text_of_csv(text: str, kind: str, variable: VellumVariable) -> Any:
    if kind == "enum" and text in (variable.json_schema or {}).get("enum", ()):
        return str(text)
    if kind == "bool":
        return {"true": True, "false": False}.get(text.strip().lower(), str(text))
    if kind == "number":
        return typed(text.strip())
    if text.startswith(_STRUCTURED):
        return _parsed(text)
    try:
        return json.loads(text)
    except ValueError:
        return typed(text)


def _parsed(text: str) -> Any:
    """Return the JSON that `text` is; what does not look like any stays text."""
    if not text.lstrip().startswith(_STRUCTURED):
        return str(text)
    try:
        return json.loads(text)
    except RecursionError:
        msg = "is JSON that is nested too deep"
        raise InputError(msg) from None
    except ValueError as exc:
        hint = "; json.dumps writes it" if "'" in text else ""
        msg = f"{format_value(str(text))} is no JSON: {exc}{hint}"
        raise InputError(msg) from exc


def _whole(value: Any, variable: VellumVariable) -> Any:
    """Return whole numbers as such: pandas makes floats of them where some are missing."""
    type_ = (variable.json_schema or {}).get("type")
    if type_ == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


Releases = Mapping[str, WorkflowDeploymentRelease | None]
Variables = Sequence[VellumVariable]

_REQUIRED = "a value is required"
_TYPED = "; in a DataFrame text stays text: give the path of the file, or convert the column"


@dataclass(frozen=True, slots=True)
class CheckedCases:
    """Cases that fit, what is worth telling about them, and which inputs go not where."""

    cases: list[SweepCase]
    notes: tuple[str, ...]
    not_sent: Mapping[str, tuple[str, ...]]


def checked_cases(table: Table, releases: Releases, deployment: str) -> CheckedCases:
    """Return the cases of `table`, checked on every release.

    Raises
    ------
    InputError
        Lists every problem, with its row.
    """
    return _Checker(table, releases, deployment).checked()


def with_mocks(checked: CheckedCases, *, mocks: bool) -> CheckedCases:
    """Return the cases with their column `mocks`, which makes them other cases, or without it.

    Raises
    ------
    InputError
        Mocks are asked for, and no case has any, or one is not a list.
    """
    cases = [_with_mocks(case, mocks=mocks) for case in checked.cases]
    if mocks and not any("mocks" in case.labels for case in cases):
        msg = "mocks=True, but no case has mocks; ws.cases(...) has those of a pushed project"
        raise InputError(msg)
    return replace(checked, cases=cases)


def _with_mocks(case: SweepCase, *, mocks: bool) -> SweepCase:
    labels = {name: value for name, value in case.labels.items() if name != "mocks"}
    found = case.labels.get("mocks")
    if not mocks or not found:
        return replace(case, labels=labels)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except ValueError:
            found = None
    if not isinstance(found, list):
        msg = f"The mocks of case {case.position + 1} are not a list of node output mocks"
        raise InputError(msg)
    id_ = case_id({**case.inputs, MOCKS: found})
    return replace(case, case_id=id_, labels={**labels, "mocks": found})


def recheck(cases: Sequence[SweepCase], releases: Releases, deployment: str) -> None:
    """Check stored cases once more, on the releases of now.

    Raises
    ------
    InputError
        Lists every problem, with its row.
    """
    table = Table([], (), "dicts", stored=True, name="the sweep")
    _Checker(table, releases, deployment).recheck(cases)


class _Checker:
    """Checks one table."""

    def __init__(self, table: Table, releases: Releases, deployment: str) -> None:
        self._table = table
        self._deployment = deployment
        self._releases = releases
        self._groups = _groups(releases)
        self._known_variables = _known_variables(releases)
        self._outputs = _outputs(releases)
        names = list(self._known_variables) if self._known_variables is not None else None
        self._columns: Columns = sorted_out(table, names)
        self._doubtful = self._columns.doubtful(names or ())
        self._problems: list[InputProblem] = []
        self._notes: list[str] = []

    def checked(self) -> CheckedCases:
        """Check every case, then say what is wrong with all of them together."""
        self._look_at_columns()
        rows = self._rows()
        cases = [case for number, row in rows if (case := self._case(number, row)) is not None]
        self._refuse()
        if self._table.stored:
            cases = self._each_once(cases)
        else:
            self._tell_twins(cases)
        cases = [replace(case, position=at) for at, case in enumerate(cases)]
        return CheckedCases(cases, tuple(self._notes), self._not_sent(cases))

    def recheck(self, cases: Sequence[SweepCase]) -> None:
        """Check cases whose values are as they are sent."""
        for case in cases:
            self._fitting(case.position + 1, dict(case.inputs))
        self._refuse()

    def _refuse(self) -> None:
        if self._problems:
            number = len(self._problems)
            what = "1 value does" if number == 1 else f"{number:,} values do"
            msg = f"{self._table.name}: {what} not fit {self._deployment}; nothing was sent:"
            raise InputError(msg, self._problems)

    def _look_at_columns(self) -> None:
        """Note what looks mistyped; an input that no release knows is a problem, once."""
        for label, variable in self._doubtful.items():
            self._notes.append(f"the column {label} is kept as a label; is {variable} meant?")
        if self._known_variables is None:
            return
        tags = ", ".join(self._releases)
        for name in self._columns.of("input"):
            if name in self._known_variables:
                continue
            if self._table.stored:
                self._notes.append(f"{name} is no input on {tags}: kept, and not sent")
                continue
            hint = _hint(name, self._known_variables)
            known = ", ".join(self._known_variables) or "none"
            message = f"is no input of {self._deployment} on {tags}; its inputs: {known}{hint}"
            self._problems.append(InputProblem(f"input.{name}", message))
        for name in self._columns.of("expected"):
            if self._outputs and name not in self._outputs:
                hint = _hint(name, self._outputs)
                self._notes.append(f"expected.{name}: there is no output {name}{hint}")

    def _rows(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the rows with their numbers; of stored runs only those of this deployment."""
        rows = list(enumerate(self._table.rows, start=1))
        if not self._table.stored:
            return rows
        own = [each for each in rows if each[1].get("deployment") == self._deployment]
        if own and len(own) < len(rows):
            others = len(rows) - len(own)
            self._notes.append(f"{others:,} runs of other deployments are left out")
        return own or rows

    def _case(self, number: int, row: Mapping[str, Any]) -> SweepCase | None:
        sides: dict[str, dict[str, Any]] = {"input": {}, "expected": {}, "label": {}}
        before = len(self._problems)
        for column, value in row.items():
            use = self._columns.uses.get(column)
            if use is None:
                continue
            try:
                sides[use[0]][use[1]] = self._value(use[0], use[1], value)
            except InputError as exc:
                variable = use[1] if use[0] == "input" else column
                self._problems.append(InputProblem(variable, str(exc), number))
        if len(self._problems) > before:
            return None
        inputs = self._fitting(number, sides["input"])
        if len(self._problems) > before:
            return None
        return SweepCase(number, case_id(inputs), inputs, sides["expected"], sides["label"])

    def _value(self, side: str, name: str, value: Any) -> Any:
        if side == "label":
            return _label_value(untyped(value, self._table))
        known = self._known_variables if side == "input" else self._outputs
        variable = (known or {}).get(name)
        found = natural(value, variable, self._table) if variable else untyped(value, self._table)
        return found if side == "input" else plain(found)

    def _fitting(self, number: int, given: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs in plain values, in the order given; note what does not fit."""
        sent: dict[str, Any] = {}
        found: dict[tuple[str, str], list[str]] = {}
        for tags, variables in self._groups:
            try:
                sent = self._wire(given, variables, tags[0]) | sent
            except InputError as exc:
                for each in exc.problems:
                    found.setdefault((each.variable, each.message), []).extend(tags)
        for (variable, message), tags in found.items():
            where = "" if len(tags) == len(self._releases) else f", on {', '.join(tags)}"
            text = f"{self._explained(variable, message)}{where}"
            if self._table.name == OF_A_FRAME and isinstance(given.get(variable), str):
                text = f"{text}{_TYPED}"
            self._problems.append(InputProblem(variable, text, number))
        if self._known_variables is not None:
            sent |= self._plain_values(
                {k: v for k, v in given.items() if k not in self._known_variables}, number
            )
        return {name: sent[name] for name in given if name in sent}

    def _plain_values(self, unknown: Mapping[str, Any], number: int) -> dict[str, Any]:
        """Return inputs that no release knows, which stay part of the case."""
        try:
            return {name: plain(value) for name, value in unknown.items()}
        except InputError as exc:
            self._problems.append(InputProblem(", ".join(unknown), str(exc), number))
            return {}

    def _wire(
        self, given: Mapping[str, Any], variables: Variables | None, tag: str
    ) -> dict[str, Any]:
        if variables is not None:
            keys = {variable.key for variable in variables}
            given = {name: value for name, value in given.items() if name in keys}
        wire = to_wire(given, variables, where=f"{self._deployment} {tag}")
        return {item.name: item.value for item in wire}

    def _explained(self, variable: str, message: str) -> str:
        label = next((label for label, meant in self._doubtful.items() if meant == variable), None)
        if label is None or not message.startswith(_REQUIRED):
            return message
        return f"{message}; is the column {label} meant?"

    def _each_once(self, cases: Sequence[SweepCase]) -> list[SweepCase]:
        """Return each case once, with what any of its runs expected."""
        found: dict[str, SweepCase] = {}
        for case in cases:
            first = found.setdefault(case.case_id, case)
            if not first.expected and case.expected:
                found[case.case_id] = replace(first, expected=case.expected)
        if len(found) < len(cases):
            self._notes.append(f"{len(cases):,} runs are of {len(found):,} cases, each taken once")
        return list(found.values())

    def _tell_twins(self, cases: Sequence[SweepCase]) -> None:
        """Note rows of the same inputs: all are sent, and a comparison takes them as one case."""
        first: dict[str, int] = {}
        rows = [(each.position, first.setdefault(each.case_id, each.position)) for each in cases]
        twins = [(row, other) for row, other in rows if row != other]
        if not twins:
            return
        row, other = twins[0]
        have = "1 row has" if len(twins) == 1 else f"{len(twins):,} rows have"
        self._notes.append(
            f"{have} the inputs of an earlier one, such as row {row:,} of row {other:,}: all are "
            "sent, and a comparison takes them as one case"
        )

    def _not_sent(self, cases: Sequence[SweepCase]) -> dict[str, tuple[str, ...]]:
        given = dict.fromkeys(name for case in cases for name in case.inputs)
        found: dict[str, tuple[str, ...]] = {}
        for tags, variables in self._groups:
            if variables is None:
                continue
            keys = {variable.key for variable in variables}
            unknown = tuple(name for name in given if name not in keys)
            found |= dict.fromkeys(tags, unknown)
        return {tag: names for tag, names in found.items() if names}


def _groups(releases: Releases) -> list[tuple[list[str], Variables | None]]:
    """Return the tags with the same input variables together: each is checked once."""
    found: list[tuple[list[str], Variables | None]] = []
    for tag, release in releases.items():
        variables = None if release is None else release.workflow_version.input_variables
        for tags, known in found:
            if known == variables:
                tags.append(tag)
                break
        else:
            found.append(([tag], variables))
    return found


def _readable(releases: Releases) -> Iterator[WorkflowDeploymentRelease]:
    return (release for release in releases.values() if release is not None)


def _known_variables(releases: Releases) -> dict[str, VellumVariable] | None:
    """Return the input variables of all releases; None where none of them can be read."""
    known: dict[str, VellumVariable] = {}
    for release in _readable(releases):
        known = {v.key: v for v in release.workflow_version.input_variables} | known
    return known if any(True for _ in _readable(releases)) else None


def _outputs(releases: Releases) -> dict[str, VellumVariable]:
    known: dict[str, VellumVariable] = {}
    for release in _readable(releases):
        known = {v.key: v for v in release.workflow_version.output_variables} | known
    return known


def _hint(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _label_value(value: Any) -> Any:
    with suppress(InputError):
        return plain(value)
    try:
        return str(value)
    except (ValueError, RecursionError):  # as in `format_value`, which puts up with it
        return format_value(value)
