"""One output next to the baseline's, in every format."""

import pytest
from dom_kit import text_of
from runs_kit import later_run

from vellum_nb.models import RunError
from vellum_nb.rendering.answer import AnswerCell

OLD = later_run("v1", {}, {"same": 1, "changed": "old", "gone": "x"})
NEW = later_run("v2", {}, {"same": 1, "changed": "new", "added": "<y>"})


@pytest.mark.parametrize(
    ("name", "html", "page", "markdown", "text"),
    [
        ("same", "1", "= identical", "= identical", "1"),
        ("gone", "? missing", "? missing", "? missing", "(missing)"),
        (
            "changed",
            "new",
            "new",
            "<code><b>new</b></code>",
            "[-old-]{+new+}",
        ),
        (
            "added",
            "new: the baseline has no such output <y>",
            "new: the baseline has no such output <y>",
            "<code><b>&#60;y&#62;</b></code>",
            "{+<y>+}",
        ),
    ],
)
def test_output_reads_the_same_in_every_format(name, html, page, markdown, text):
    cell = AnswerCell.of(name, NEW, OLD)
    assert text_of(cell.to_html()) == html
    assert text_of(cell.to_html(complete=True)) == page
    assert cell.to_markdown() == markdown
    assert cell.to_text() == text


def test_each_release_shows_its_own_text():
    cell = AnswerCell.of("changed", NEW, OLD)
    assert text_of(cell.to_html(side="both")) == "old new"
    assert text_of(cell.baseline_html()) == "old"
    assert "<del" in cell.baseline_html()


def test_error_of_a_fulfilled_run_is_shown():
    run = later_run("v1", {}, {"x": 1}, error=RunError(code="PARTIAL", message="a < b"))
    cell = AnswerCell.of_problem(run)
    assert cell.label == "error"
    assert cell.to_text() == "PARTIAL: a < b"
    assert text_of(cell.to_html()) == "PARTIAL a < b"
    assert text_of(cell.to_html(complete=True)) == "PARTIAL: a < b"


def test_fulfilled_run_has_no_problem():
    assert AnswerCell.of_problem(NEW) is None
