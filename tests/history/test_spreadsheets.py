"""Our CSV in a real spreadsheet, LibreOffice: nothing in it runs."""

import shutil
import subprocess
from itertools import product
from xml.etree import ElementTree as ET

import pytest

pytestmark = pytest.mark.slow

MARKS = ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
FORMULAS = [f"{mark}1+1" for mark in MARKS]
FORMULAS += ['=HYPERLINK("http://127.0.0.1/","x")', "=cmd|' /C calc'!A0", "=A1", "{=1+1}"]
FORMULAS += [before + "=1+1" for before in ("\t", "\n", " ", "\xa0", "\ufeff", "\u200b", "'", '"')]
TEXTS = ["a", "", "'", "''a", "é😀", 'say "x"', 'x","=1+1', "x;=1+1", "x\t=1+1", "a\n=1+1\nb"]
TEXTS += ["0012", "1/2", "2026-07-01", "1e5", "TRUE", "5 %", "\u2028=1"]
CARRIED = ["\r=1+1", "\r\n=1+1", "a\r=1+1"]  # a carriage return, of which XML makes a line feed

NAMES = {
    "table": "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}",
    "text": "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}",
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Return what opens a CSV in LibreOffice and gives its table: formula and text of each cell."""
    program = shutil.which("soffice")
    assert program, "LibreOffice is not installed: .ci/programs does that"
    profile = tmp_path_factory.mktemp("profile")

    def opened(path, *, quoted_is_text, detect):
        # Separator, quote, UTF-8, first line, no formats, language, and the ticks of the import
        # dialog; the last one has formulas evaluated.
        ticks = f"{quoted_is_text},{detect},false,false,false,-1,true".lower()
        command = [program, f"-env:UserInstallation={profile.as_uri()}", "--headless"]
        command += [f"--infilter=CSV:44,34,76,1,,0,{ticks}", "--convert-to", "fods"]
        command += ["--outdir", path.parent, path]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return _table(path.with_suffix(".fods"))

    return opened


def _table(path):
    root = ET.parse(path).getroot()  # noqa: S314  (LibreOffice wrote it)
    return [
        [cell for found in row.iter(NAMES["table"] + "table-cell") for cell in _cells(found)]
        for row in root.iter(NAMES["table"] + "table-row")
    ]


def _cells(cell):
    lines = ["".join(_pieces(line)) for line in cell.findall(NAMES["text"] + "p")]
    repeated = int(cell.get(NAMES["table"] + "number-columns-repeated", "1"))
    return [(cell.get(NAMES["table"] + "formula"), "\n".join(lines))] * min(repeated, 100)


def _pieces(element):
    yield element.text or ""
    for inner in element:
        if inner.tag == NAMES["text"] + "s":
            yield " " * int(inner.get(NAMES["text"] + "c", "1"))
        elif inner.tag == NAMES["text"] + "tab":
            yield "\t"
        else:
            yield from _pieces(inner)
        yield inner.tail or ""


@pytest.fixture
def exported(history, path, record, tmp_path):
    """Return a CSV with hostile texts wherever a run has text."""
    for text in (*FORMULAS, *TEXTS, *CARRIED):
        record(outputs={"reply": text}, note=text, inputs={text.replace("\r", "_"): text})
    return history.to_csv(tmp_path / "runs.csv")


@pytest.mark.parametrize(("quoted_is_text", "detect"), [*product((True, False), repeat=2)])
def test_no_formula_runs_in_our_csv(exported, opened, quoted_is_text, detect):
    table = opened(exported, quoted_is_text=quoted_is_text, detect=detect)
    assert len(table) == 1 + len(FORMULAS + TEXTS + CARRIED)
    assert [cell for row in table for cell in row if cell[0] is not None] == []


def test_without_our_apostrophe_texts_do_run_and_each_is_shown_as_it_is_but_for_it(
    exported, opened, history
):
    path = exported.with_name("bare.csv")
    path.write_text(exported.read_text("utf-8").replace("\"'", '"'), "utf-8", newline="")
    table = opened(path, quoted_is_text=False, detect=False)
    formulas = [cell[0] for row in table for cell in row if cell[0] is not None]
    assert {"of:=1+1", "of:=[.A1]"} <= set(formulas)
    assert any("HYPERLINK" in formula for formula in formulas)
    table = opened(exported, quoted_is_text=True, detect=False)
    columns = list(history.frame().columns)
    assert [text for _, text in table[0]][: len(columns)] == [_guarded(name) for name in columns]
    shown = [row[columns.index("output.reply")][1] for row in table[1:]]
    assert shown[len(CARRIED) :] == [_guarded(text) for text in (*FORMULAS, *TEXTS)][::-1]


def _guarded(text):
    return f"'{text}" if text.startswith((*MARKS, "\t", "\r", "\n", "'")) else text
