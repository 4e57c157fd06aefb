"""README and docs: every code block runs, pages are short and linked, words are plain."""

import ast
import json
import os
import re
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from markdown_it import MarkdownIt
from traitlets.config import Config

import vellum_nb
from vellum_nb.workspace.connect import embedded_server

ROOT = Path(__file__).parents[2]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = [*TOP, *sorted((ROOT / "docs").rglob("*.md"))]
NOTE = re.compile(r"<!-- (not run|file|exit status|sql on the history|run by)\b:? ?(.*?) -->")
MOST_LINES = 200
MOST_COLUMNS = 100  # as many fit next to both side bars at 1400 px
DIRECTIVES = {"", "{toctree}", "{eval-rst}", "{include}", "{figure}", "{card-footer}"}


@dataclass
class Block:
    """A fenced block of a page: its language, text, line, and the comment above it."""

    language: str
    text: str
    line: int
    note: str = ""
    detail: str = ""


def blocks(page: Path) -> list[Block]:
    found, note = [], ("", "")
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            language = token.info.split()[0] if token.info else ""
            found.append(Block(language, token.content, token.map[0] + 1, *note))
        is_note = token.type == "html_block" and (match := NOTE.fullmatch(token.content.strip()))
        note = match.groups() if is_note else ("", "")
    return found


class Reader:
    """Runs the blocks of a page in order, as a reader would, in one folder and one kernel."""

    def __init__(self, page: Path, shell: InteractiveShell, environment: dict[str, str]) -> None:
        self.page = page
        self.shell = shell
        self.environment = environment

    def run(self, block: Block) -> None:
        if block.note == "file":
            Path(block.detail).write_text(block.text, encoding="utf-8")
        elif block.note not in {"not run", "run by"}:
            getattr(self, block.language)(block)

    def python(self, block: Block) -> None:
        text = self.shell.transform_cell(block.text)
        lines = text.splitlines()
        where = f"{self.page.name}, line {block.line}"
        for node in ast.parse(text).body:
            if not isinstance(node, ast.Expr):
                code = compile(ast.Module([node], []), where, "exec")
                exec(code, self.shell.user_ns)  # noqa: S102  (the page's own example)
                continue
            value = eval(compile(ast.Expression(node.value), where, "eval"), self.shell.user_ns)  # noqa: S307
            self.shell.display_formatter.format(value)
            _, _, comment = lines[node.end_lineno - 1][node.end_col_offset :].partition("#")
            if (promised := literal(comment)) is not None:
                assert value == promised, f"{where}: {lines[node.lineno - 1]}"

    def sh(self, block: Block) -> None:
        command = ["bash", "-e", "-c", block.text]
        done = subprocess.run(command, env=self.environment, check=False, timeout=300)
        assert done.returncode == (int(block.detail.split(":")[0]) if block.detail else 0)

    def sql(self, block: Block) -> None:
        connection = sqlite3.connect(self.environment["VELLUM_NB_HISTORY"])
        assert connection.execute(block.text).fetchall()
        connection.close()


def literal(text: str) -> object:
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, ValueError):
        return None


@pytest.fixture
def shell(monkeypatch, tmp_path):
    """Start the kernel of a reader, without a key, in an empty folder."""
    monkeypatch.delenv("VELLUM_API_KEY", raising=False)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))
    monkeypatch.chdir(tmp_path)
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    yield shell
    for value in list(shell.user_ns.values()):
        if isinstance(value, vellum_nb.Workspace):
            value.close()
    embedded_server().stop()
    shell.restore_sys_module_state()
    InteractiveShell.clear_instance()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem
)
def test_the_blocks_of_the_page_run(page, shell):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    reader = Reader(page, shell, {**os.environ, "PATH": path})
    for block in blocks(page):
        if block.language in {"python", "sh", "sql"} or block.note:
            reader.run(block)
        else:
            assert block.language in DIRECTIVES, f"{page}: {block}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_short(page):
    """The code of recipes does not count."""
    lines = page.read_text(encoding="utf-8").count("\n")
    recipes = sum(block.text.count("\n") for block in blocks(page) if block.note == "run by")
    assert lines - recipes <= MOST_LINES


def test_code_fits_the_width_of_a_page():
    texts = {(page, block.text) for page in PAGES for block in blocks(page)}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts |= {(path, "".join(c["source"])) for c in cells if c["cell_type"] == "code"}
    shown = [(page.name, line) for page, text in texts for line in text.splitlines()]
    long = {(page, line) for page, line in shown if len(line) > MOST_COLUMNS}
    assert {(page, line) for page, line in long if ":members:" not in line} == set()


@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("conversation", "docs/how-to/run-a-deployment.md"),
        ("trend", "docs/how-to/follow-a-trend.md"),
        ("dataset", "docs/how-to/run-cases.md"),
        ("significance", "docs/explanation/how-certain.md"),
        ("release gate", "docs/how-to/ci.md"),
    ],
)
def test_search_finds_a_common_word(word, page):
    assert word in (ROOT / page).read_text(encoding="utf-8").lower()


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_first_cell_names_the_extra_that_a_notebook_needs(path):
    table = (ROOT / "docs" / "tutorials.md").read_text(encoding="utf-8")
    row = next(line for line in table.splitlines() if path.name in line)
    _, *extras = re.findall(r"`([a-z]+)`", row.rpartition(" | ")[2])
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert re.findall(r'pip install "vellum-nb\[([a-z]+)\]"', first) == extras


WORDS = re.compile(
    r"\b(told|teller|tells?(?! yet)|telling"
    r"|hear[sd]?|hearing|fates?|crew|anew|meanwhile|whoever|mend|mended"
    r"|bury|buried|sieve|errands|manners|patiently|insist|relent|outdone|(?-i:is none)|held against"
    r"|hardly chance|may be chance|too few to tell|one row a|is no time|two copies become"
    r"|drawn anew|for want of|cannot tell(?! yet)|lose the kernel …)\b",
    re.IGNORECASE,
)


def texts() -> dict[str, str]:
    found = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        markdown = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
        found[path.name] = "\n".join(markdown)
    for path in (ROOT / "vellum_nb").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        strings = [each.value for each in nodes if isinstance(each, ast.Constant)]
        found[str(path.relative_to(ROOT))] = "\n".join(s for s in strings if isinstance(s, str))
    return found


def test_words_are_plain():
    found = {name: WORDS.findall(text) for name, text in texts().items()}
    assert {name: words for name, words in found.items() if words} == {}


def test_the_description_on_an_index_page_has_no_relative_links():
    from build.util import project_wheel_metadata

    text = project_wheel_metadata(ROOT, isolated=False).get_payload()
    assert "ticket-triage" in text
    assert re.findall(r"\]\((?!https?://)[^)]*\)", text) == []
