"""Comparisons of runs made by hand, their grid, and a page that speaks to it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import comm
import pytest
from html_kit import Page as Html
from wire_kit import Page, Wire

from vellum_nb import Comparison, Run
from vellum_nb.models import RunError, case_id
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.widgets.grid import Callbacks, ComparisonView

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


class GridPage(Page):
    """What the JavaScript of one view of the grid does, without drawing."""

    def __init__(self, view):
        super().__init__(view.table)
        self.whole = view

    def rows(self, offset=0, limit=40, **query):
        asked = {"view": "a", "seq": 1, "offset": offset, "limit": limit}
        query = {"search": "", "states": [], "labels": {}} | query
        self.send(kind="rows", query=query, **asked)
        return self.wire.customs("rows")[-1]

    def cases(self, **query):
        """Return the number of each case that is found to its HTML."""
        rows = self.rows(**query)["rows"]
        return {int(re.search(r">case ([\d,]+)<", each["html"])[1]): each for each in rows}

    def numbers(self, **query):
        return list(self.cases(**query))

    def cell(self, number, release):
        """Return a cell: kind, word, latency, chips, its HTML and its text."""
        names = [each["name"] for each in self.state("_head")["columns"]]
        cells = self.cases()[number]["html"].split('<div role="gridcell"')
        html = f"<div {cells[1 + names.index(release)]}"
        kind = re.search(r"vnb-grid-at-(\w+)", html)[1]
        verdict = re.search(r'class="vnb-grid-verdict">.*?<span>(.*?)</span>', html)
        chips = re.findall(r'vnb-grid-chip(?: vnb-grid-is-(\w+))?" title=".*?">(.*?)</span>', html)
        word = verdict[1] if verdict else ""
        texts = [(Html(text).text, tone) for tone, text in chips]
        return {"kind": kind, "word": word, "chips": texts, "html": html, "text": Html(html).text}

    def release(self, name):
        """Return the text of a release in the summary."""
        rows = self.state("_head")["summary"].split("<tr data-release=")
        return next(Html(f"<tr a={each}").text for each in rows if each.startswith(f'"{name}"'))


def parts(widget):
    """Yield a widget and all its children."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)


class FullCase:
    """The case in full under a grid: its heading, its answers, the bars under them."""

    def __init__(self, view):
        every = [*parts(view.children[1])]
        self.bars = next(each for each in every if hasattr(each, "bars"))
        html = {
            name: part.value
            for part in every
            if hasattr(part, "value")
            for name in part._dom_classes
        }
        self.head, self.answers = html["vnb-case-head"], html["vnb-answers"]


def run(number, tag, repeat=0, **fields):
    inputs = fields.pop("inputs", {"ticket": f"ticket {number}"})
    known = {
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
    return Run(**(known | fields))


def rejected(number, tag):
    error = RunError(code="USER_DEFINED_ERROR", message="no such plan")
    return run(number, tag, state="REJECTED", error=error, outputs={})


def wrong(number, tag, repeat=0):
    return run(number, tag, repeat, outputs={"category": "account", "reply": "Thanks for writing."})


def known(*numbers, labels=None):
    """Return the cases with what is expected of them."""
    found = []
    for number in numbers:
        inputs = {"ticket": f"ticket {number}"}
        topic = {"topic": labels[number % len(labels)]} if labels else {}
        expected = {"category": "billing"}
        found.append(SweepCase(number, case_id(inputs), inputs, expected, topic))
    return found


@pytest.fixture(scope="session")
def made():
    """Return how to make runs: right, wrong, rejected ones, and cases."""
    return run, wrong, rejected, known


@pytest.fixture
def show(monkeypatch):
    """Return how to open the grid of some runs in a page; it is closed at the end."""
    monkeypatch.setattr(comm, "create_comm", Wire)
    views = []

    def show(runs, *, tags=("v1", "v2"), hands=None, **options):
        comparison = Comparison(runs, deployment="triage", release_tags=tags, **options)
        views.append(ComparisonView(comparison, hands))
        return GridPage(views[-1])

    yield show
    for view in views:
        view.close()


@pytest.fixture(scope="session")
def full_case():
    """Return what reads the case in full of a view."""
    return FullCase


@pytest.fixture
def hands():
    """Return hands that note what they are asked to do."""
    done = []

    def rate(each, quality, desired):
        done.append((each.id, quality, desired))
        return each.model_copy(update={"quality": quality})

    def replay(case, tag):
        done.append((case.number, tag))
        return run(case.number - 1, tag, repeat=5)

    return Callbacks(rate=rate, replay=replay), done
