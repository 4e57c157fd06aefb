"""Runs made by hand, and pages of the table of a history and of the grid."""

from datetime import UTC, datetime, timedelta

from dom_kit import dom, text_of
from wire_kit import Page

from vellum_nb import Run
from vellum_nb.models import RunError, case_id
from vellum_nb.models.sweeps import SweepCase

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def ids(answer):
    return [row["id"] for row in answer["rows"]]


class TablePage(Page):
    """Messages of the script of a table, without a browser."""

    def rows(self, **content):
        """Return the answer to a query; for a long history the last one, with its counts."""
        query = {name: content.pop(name) for name in self.view.QUERY if name in content}
        asked = {"view": "a", "seq": 1, "offset": 0, "limit": 40, **content, "query": query}
        self.send(kind="rows", **asked)
        assert self.view.wait(10)  # where another thread answers
        answer = self.wire.customs("rows")[-1]
        return {**answer, **self.wire.customs("total")[-1]} if answer["rough"] else answer

    def becomes(self, condition, **content):
        """Wait until the rows satisfy a condition; request them after each change."""
        assert self.wire.wait_for(lambda: condition(self.rows(**content)))


class GridPage(Page):
    """Messages of the script of a grid, without a browser."""

    def __init__(self, view):
        super().__init__(view.table)
        self.whole = view

    def rows(self, offset=0, limit=40, **query):
        query = {"search": "", "states": [], "labels": {}, "failures": [], "full": True} | query
        window = {"view": "a", "seq": 1, "offset": offset, "limit": limit}
        self.send(kind="rows", query=query, **window)
        return self.wire.customs("rows")[-1]

    def cases(self, **query):
        """Return the rows of the matching cases by case number."""
        rows = self.rows(**query)["rows"]
        captions = [dom(row["html"]).select_one(".vnb-grid-caption > span").text for row in rows]
        numbers = [int(text.removeprefix("case ").replace(",", "")) for text in captions]
        return dict(zip(numbers, rows, strict=True))

    def numbers(self, **query):
        return list(self.cases(**query))

    def act(self, kind, number, **content):
        """Send a message about a case."""
        self.send(kind=kind, id=self.cases()[number]["id"], **content)

    def element(self, number, release):
        """Return the cell of a release as an element."""
        names = [column["name"] for column in self.state("_head")["columns"]]
        cells = dom(self.cases()[number]["html"]).select(".vnb-grid-cell:not(.vnb-grid-case)")
        return cells[names.index(release)]

    def cell(self, number, release):
        """Return the kind, verdict, chips with their tone, and text of a cell."""
        cell = self.element(number, release)
        verdict = cell.select_one(".vnb-grid-verdict > span:not([class])")
        chips = [
            (text_of(chip), chip["class"].partition("vnb-grid-is-")[2])
            for chip in cell.select(".vnb-grid-chip")
        ]
        return {
            "kind": cell["class"].partition("vnb-grid-at-")[2],
            "word": text_of(verdict) if verdict else "",
            "chips": chips,
            "text": text_of(cell),
        }

    def lines(self, **query):
        """Return the matching cases on one line: number, inputs, and the text of each release."""
        rows = [dom(row["html"]) for row in self.rows(**query, full=False)["rows"]]
        return [[text_of(cell) for cell in row.select(".vnb-grid-cell")] for row in rows]

    @property
    def verdicts(self):
        """The sentences above the grid: icon, text, and the attributes of the button."""
        made = []
        for line in dom(self.state("_head")["verdicts"]).select(".vnb-verdict"):
            step = line.select_one("button")
            data = {} if step is None else {n: v for n, v in step.attrs.items() if n[:5] == "data-"}
            name = line["class"].partition("vnb-verdict-")[2]
            made.append((name, text_of(line), data))
        return made

    @property
    def summary(self):
        return dom(self.state("_head")["summary"])

    def release(self, name):
        """Return the text of a release in the summary."""
        return text_of(self.summary.select_one(f'tr[data-release="{name}"]'))


def _parts(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _parts(child)


class FullCase:
    """The opened case below a grid: heading, answers and bars."""

    def __init__(self, view):
        every = [*_parts(view.children[1])]
        self.bars = next(each for each in every if hasattr(each, "bars"))
        self.read, self.again, _ = (each for each in every if hasattr(each, "on_click"))
        self.repeat = next(each for each in every if hasattr(each, "options"))
        values = [each.value for each in every if isinstance(getattr(each, "value", None), str)]
        _, self.head, _, self.answers, self.traces = values


def run(number, tag, repeat=0, **fields):
    inputs = fields.pop("inputs", {"ticket": f"ticket {number}"})
    default = {
        "id": f"{tag}-{number}-{repeat}",
        "deployment": "triage",
        "release_tag": tag,
        "timestamp": NOON + timedelta(seconds=number + 100 * repeat),
        "inputs": inputs,
        "case_id": case_id(inputs),
        "outputs": {"category": "billing", "reply": "Thanks for writing."},
        "state": "FULFILLED",
        "latency_s": 1.5,
    }
    return Run(**(default | fields))


def rejected(number, tag):
    error = RunError(code="USER_DEFINED_ERROR", message="no such plan")
    return run(number, tag, state="REJECTED", error=error, outputs={})


def wrong(number, tag, repeat=0, **fields):
    outputs = {"category": "account", "reply": "Thanks for writing."}
    return run(number, tag, repeat, outputs=outputs, **fields)


def known(*numbers, labels=None):
    """Return cases with their expected outputs."""
    cases = []
    for number in numbers:
        inputs = {"ticket": f"ticket {number}"}
        topic = {"topic": labels[number % len(labels)]} if labels else {}
        cases.append(SweepCase(number, case_id(inputs), inputs, {"category": "billing"}, topic))
    return cases
