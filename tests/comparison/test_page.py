"""The HTML report: one file without a script, with figures that follow from its CSV files."""

import base64
import hashlib
import json
import re
import zlib
from itertools import combinations

import numpy as np
import pytest
from actions_kit import SomeActions
from dom_kit import dom, text_of, texts
from report_kit import compared, failed, judged, run, talk, wanted
from runs_kit import HOSTILE, html_of
from scipy.stats import binomtest

from vellum_nb import HistoryError, read_csv
from vellum_nb.comparison.statistics import mean_interval, paired, share_interval
from vellum_nb.models import NodeRun, RunError

OURS = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "div",
    "table", "thead", "tbody", "tr", "th", "td", "span", "data", "details", "summary", "section",
    "dl", "dt", "dd", "code", "pre", "ins", "del", "b", "small", "footer", "a", "i",
    "svg", "desc", "g", "line", "path", "rect", "text", "tspan",
}  # fmt: skip
NAMES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "scope", "value", "title",
    "data-release", "data-label", "open", "id", "style", "href", "role", "aria-label",
    "aria-hidden", "dir",
}  # fmt: skip
DRAWN = {"svg", "desc", "g", "line", "path", "rect", "text", "tspan"}
STYLE = re.compile(r"(?:--vnb-others|flex-grow):\d+")


def figures(page, name):
    """Return the values of a figure that a report shows."""
    return [float(data["value"]) for data in page.select(f"data.of-{name}")]


def uncompressed(script):
    """Return the HTML of the cases that an interactive page contains."""
    return zlib.decompress(base64.b64decode(script.string)).decode()


INTERACTIVE = pytest.mark.parametrize("interactive", [False, True])


@INTERACTIVE
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_element_or_attribute(text, interactive):
    runs = [
        run("v1", text, text, tags=(f"failure:{text}",), nodes=(NodeRun(name="n"),)),
        run("v2", text, {text: [text]}, nodes=(NodeRun(name=text),)),
        run("v1", "b", {text: 1, "long": "x" * 200}),
        run("v2", "b", {text: 2, "long": "y" * 200}),
        run("v1", "c"),
        run("v2", "c", state="REJECTED", outputs={}, error=RunError(code=text, message=text)),
        *talk("v1", {text: text, "b": 1}, text, said=(text, "b")),
        *talk("v2", {text: "b"}, text, said=(text, f"{text} b"), desired={text: text}),
    ]
    cases = wanted({text: text, "b": text}, **{text: text})
    cmp = compared(*runs, cases=cases, metrics="exact")
    page = dom(cmp.to_html(interactive=interactive))
    scripts = [script.extract() for script in page.select("script")]
    assert [script["type"] for script in scripts] == (
        ["text/plain", "application/json", "module"] if interactive else []
    )
    if interactive:
        page.select_one("#cases").append(dom(uncompressed(scripts[0])))
    elements = page.find_all(name=True)
    assert {element.name for element in elements} <= OURS
    ours = [element for element in elements if element.name not in DRAWN]
    assert {name for element in ours for name in element.attrs} <= NAMES
    assert all(STYLE.fullmatch(element["style"]) for element in ours if "style" in element.attrs)
    assert {link["href"] for link in page.select("[href]")} <= {"#cases"}
    assert sum(element.name == "meta" for element in elements) == 3
    if interactive:
        data = json.loads(scripts[1].string)
        assert [column["name"] for column in data["head"]["columns"]] == ["v1", "v2"]
        assert [len(values) for values in data["labels"].values()] == [4]


def test_policy_allows_only_the_script_of_the_page():
    html = judged({"v1": ["yes", "no"], "v2": ["no", "yes"]}).to_html(interactive=True)
    page = dom(html)
    (policy,) = page.select('meta[http-equiv="Content-Security-Policy"]')
    code = page.select_one('script[type="module"]').string
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; script-src 'sha256-{digest}'; img-src data:; "
        "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    )
    assert page.select("[src], link") == []


def test_interactive_page_has_all_states_by_case_number():
    html = judged({"v1": ["yes", "yes", "no"], "v2": ["yes", "no", "yes"]}).to_html(
        interactive=True
    )
    data = json.loads(dom(html).select_one("#vnb-page").string)
    assert data["order"] == [2, 3, 1]
    assert data["states"][""]["regressions"] == data["states"]["v2"]["regressions"] == [2]
    assert data["states"][""]["different"] == [2, 3]


def test_compressed_cases_are_those_of_the_page_without_a_script():
    cmp = judged({"v1": ["yes", "no"], "v2": ["no", "yes"]})
    static, page = (dom(cmp.to_html(interactive=interactive)) for interactive in (False, True))
    packed = uncompressed(page.select_one("#vnb-cases"))
    assert text_of(packed) == text_of(static.select_one("#cases > .vnb-groups"))
    assert page.select(".vnb-case-line") == []


def test_report_loads_nothing():
    html = judged({"v1": ["yes", "no"], "v2": ["no", "yes"]}).to_html()
    page = dom(html)
    assert page.select("script, [src], link") == []
    assert {link["href"] for link in page.select("[href]")} == {"#cases"}
    assert not re.search(r"@import|url\(", html)
    (policy,) = page.select('meta[http-equiv="Content-Security-Policy"]')
    assert "default-src 'none'" in policy["content"]


def test_cases_that_are_worse_come_before_the_others():
    cmp = judged({"v1": ["yes", "yes", "no", "no", "yes"], "v2": ["yes", "no", "yes", "no", None]})
    html = cmp.to_html()
    titles = ["Regressions", "Without an answer or a figure", "Better", "Identical outputs"]
    assert texts(html, ".vnb-group > summary > b") == titles
    lines = dom(html).select(".vnb-case-line")
    assert [line["id"] for line in lines] == [f"case-{n}" for n in (2, 5, 3, 1, 4)]
    groups = dom(html).select(".vnb-group")
    assert ["open" in group.attrs for group in groups] == [True, False, False, False]


@pytest.fixture
def slightly_better():
    return judged({"v1": ["no"] * 4 + ["yes"] * 36, "v2": ["yes"] * 40})


def test_all_figures_have_the_verdict_of_the_decision(slightly_better):
    rows = dom(slightly_better.to_html()).select(".vnb-figures tr")
    verdicts = next(row for row in rows if row.th and row.th.text == "verdict")
    assert [cell.text for cell in verdicts.select("td")] == ["baseline", "may replace"]


def test_an_interval_above_zero_does_not_end_at_zero(slightly_better):
    page = dom(slightly_better.to_html())
    assert text_of(page.select_one('tbody [data-label="difference"] b').parent) == (
        "+0.100 +0.004 to +0.231"
    )
    assert "v2 +0.100 (+0.004 to +0.231)" in page.select_one(".vnb-forest")["aria-label"]


def test_report_starts_with_verdicts_and_forest_plot():
    answers = ["yes"] * 6 + ["no"] * 2
    html = judged({"v1": answers, "v2": answers[::-1]}).to_html()
    assert [text.partition(" ")[0] for text in texts(html, "h2")] == [
        "Difference", "Releases", "Cases",
    ]  # fmt: skip
    main = [child for child in dom(html).main.children if child.name]
    assert [child.get("class") for child in main[2:3]] == ["vnb-verdicts"]
    assert "Read the 2 regressions" in text_of(main[2])
    assert dom(html).select_one(".vnb-plot > svg.vnb-forest")


def test_line_of_a_case_has_its_wrong_and_expected_values():
    html = judged({"v1": ["yes"], "v2": ["no"]}).to_html()
    assert "worse no, expected yes" in texts(html, ".vnb-case-line > summary")[0]


@pytest.mark.parametrize("shown", [html_of, lambda comparison: comparison.to_html()])
def test_wrong_output_is_followed_by_its_expected_value(shown):
    page = dom(shown(judged({"v1": ["<b>no</b>"], "v2": ["yes"]})))
    wrong, met = page.select(".vnb-case-table tbody tr")[-1].select("td")
    assert ("vnb-wrong" in wrong["class"], met.get("class")) == (True, None)
    assert text_of(wrong).endswith("✗ expected yes")
    assert text_of(met).endswith("✓ as expected")
    assert "answer (expected) yes" in text_of(page.select_one(".vnb-case-values"))


def test_identical_output_can_be_wrong():
    page = dom(judged({"v1": ["no"], "v2": ["no"]}).to_html())
    (cell,) = page.select('.vnb-case-table .vnb-wrong[data-release="v2"]')
    assert text_of(cell) == "= identical ✗ expected yes"


def test_report_shows_why_an_answer_is_missing():
    html = judged({"v1": ["yes"], "v2": [None]}).to_html()
    assert [text for text in texts(html, "td") if "missing: no run" in text]


def test_report_counts_answers_and_failed_runs():
    html = compared(run("v1"), run("v1", answer="no"), failed("v2")).to_html()
    text = text_of(html)
    assert "2 answers, 1 of them differ" in text
    assert "TIMEOUT: no answer within 120 s" in text
    assert texts(html, ".vnb-lost") == ["without an answer"]
    assert "failed where it was run and has no answer" in text


def test_unchanged_passages_are_folded():
    same = "\n".join(f"line {number}" for number in range(900))
    html = compared(run("v1", answer=f"{same}\nold"), run("v2", answer=f"{same}\nnew")).to_html()
    assert texts(html, "td details > summary") == ["1,800 unchanged words"] * 2
    assert dom(html).text.count("line 450\n") == 2


@pytest.fixture
def files(tmp_path):
    """Return a comparison with repeats and a gap, and its report with the two files beside it."""
    seed = np.random.default_rng(4)
    answers = {
        tag: seed.choice(["yes", "no"], 24, p=[p, 1 - p]).tolist()
        for tag, p in (("v1", 0.8), ("v2", 0.4))
    }
    answers["v2"][23] = None
    cmp = judged(answers, repeats=2)
    extra = [run("v2", "case 3", "no", latency_s=number / 7) for number in range(3)]
    cases = wanted({f"case {number}": "yes" for number in range(24)})
    runs = [r for case in cmp.cases for tries in case.tries.values() for r in tries]
    cmp = compared(*runs, *extra, cases=cases, metrics=["exact", "latency_s"])
    path = cmp.to_html(tmp_path / "report.html")
    return cmp, path, *(read_csv(tmp_path / f"report.{rows}.csv") for rows in ("runs", "cases"))


def test_figures_follow_from_the_runs_csv(files):
    cmp, path, runs, cases = files
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "report.cases.csv", "report.html", "report.runs.csv",
    ]  # fmt: skip
    page = dom(path.read_text(encoding="utf-8"))
    names = ("mean", "mean_low", "mean_high", "delta", "p", "sign_p")
    shown = {name: figures(page, name) for name in names}
    again: dict[str, list[float]] = {name: [] for name in shown}
    floors, counts = [], []
    for metric, sign in (("exact", 1), ("latency_s", -1)):
        means = runs.pivot_table(f"metric.{metric}", "case_id", "release", sort=False)
        means = means.reindex(cases["case_id"])
        for tag in ("v1", "v2"):
            values = means[tag].dropna().to_numpy()
            found = mean_interval(values)
            if metric == "exact":
                found = share_interval(values.mean(), len(values))
            known = (each for each in names[:3] if not np.isnan(found.columns("mean")[each]))
            for name in known:  # equal latencies have no interval
                again[name].append(found.columns("mean")[name])
        both = means.dropna()
        change = paired((both["v2"] - both["v1"]).to_numpy(), is_share=metric == "exact")
        again["delta"].append(change.mean)
        again["p"] += [change.p] if change.p is not None else []
        verdicts = [cmp.figures.verdict(case, "v2", metric) for case in cmp.cases]
        better, worse = verdicts.count("better"), verdicts.count("worse")
        deltas = zip(verdicts, sign * (means["v2"] - means["v1"]), strict=True)
        decided = [(word, delta > 0) for word, delta in deltas if word in {"better", "worse"}]
        assert all(is_more == (word == "better") for word, is_more in decided)
        again["sign_p"].append(binomtest(better, better + worse).pvalue if better + worse else 1.0)
        counts += [better, worse]
        floors.append(_floor(runs, metric))
    for name, values in again.items():
        assert shown[name] == pytest.approx(values, nan_ok=True), name
    assert figures(page, "noise_floor") == pytest.approx(floors)
    assert [
        n
        for pair in zip(figures(page, "better"), figures(page, "worse"), strict=True)
        for n in pair
    ] == counts
    assert cases["verdict@v2"].tolist() == cmp.frame()["verdict@v2"].tolist()


def _floor(runs, metric):
    """Return how often two repeats of a case on one release differ."""
    unlike = []
    for _, found in runs.groupby(["case_id", "release"], observed=True):
        values = (found[f"metric.{metric}"] / 1e-9).round().tolist()
        unlike += [one != other for one, other in combinations(values, 2)]
    return sum(unlike) / len(unlike)


def test_figures_of_releases_follow_from_the_csv(files):
    _, path, runs, cases = files
    page = dom(path.read_text(encoding="utf-8"))
    for name, quantile in (("latency_p50", 0.5), ("latency_p95", 0.95)):
        seconds = runs.groupby("release", observed=True)["latency_s"].quantile(quantile)
        assert figures(page, name) == pytest.approx(seconds.tolist())
    assert figures(page, "cases") == [len(cases)] * 2
    assert figures(page, "runs") == runs["release"].value_counts(sort=False).tolist()
    assert figures(page, "missing")[-2:] == [0, (cases["state@v2"] == "missing").sum()]
    assert figures(page, "changed_pct") == pytest.approx([100 * cases["changed@v2"].mean()])


def test_report_does_not_replace_other_files(tmp_path):
    cmp = judged({"v1": ["yes"], "v2": ["no"]})
    own = tmp_path / "report.runs.csv"
    own.write_text("mine")
    with pytest.raises(HistoryError, match=r"would replace .*report\.runs\.csv.*overwrite=True"):
        cmp.to_html(tmp_path / "report.html")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [(own.name, "mine")]
    cmp.to_html(tmp_path / "report.html", overwrite=True)
    assert own.read_text() != "mine"


def test_report_replaces_its_own_tables(tmp_path):
    judged({"v1": ["yes"], "v2": ["no"]}).to_html(tmp_path / "report.html")
    judged({"v1": ["yes"], "v2": ["yes"]}).to_html(tmp_path / "report.html")
    assert read_csv(tmp_path / "report.cases.csv")["verdict@v2"].tolist() == ["same"]


def test_report_is_not_written_over_a_folder(tmp_path):
    (tmp_path / "b").mkdir()
    with pytest.raises(HistoryError, match="name a file in it"):
        judged({"v1": ["yes"], "v2": ["no"]}).to_html(tmp_path / "b")
    assert [each.name for each in tmp_path.iterdir()] == ["b"]


def test_name_of_a_report_can_contain_a_dot(tmp_path):
    for name in ("a.v1", "a.v2"):
        judged({"v1": ["yes"], "v2": ["no"]}).to_html(tmp_path / name)
    kinds = ("", ".cases.csv", ".runs.csv")
    names = [f"{name}{kind}" for name in ("a.v1", "a.v2") for kind in kinds]
    assert sorted(each.name for each in tmp_path.iterdir()) == names


def test_code_of_releases_is_read_once():
    read = []

    def code(_, tag, release_id):
        read.append(release_id)
        return {"v1": {"a.py": "x = 1\n"}, "v2": {"a.py": "x = '<script>'\n"}}.get(tag)

    tags = ("v1", "v2", "v3", "v4")
    runs = [*map(run, tags[:3]), run("v4", release_id=None)]
    cmp = compared(*runs, tags=tags, actions=SomeActions(code=code, leaks=lambda _: False))
    repr(cmp), html_of(cmp), str(cmp)
    assert read == []
    html, markdown = cmp.to_html(), cmp.to_markdown()
    assert sorted(read) == ["release-of-v1", "release-of-v2", "release-of-v3"]
    assert "Code of v2 1 file differs (+1 -1)" in texts(html, ".vnb-group > summary")
    assert not dom(html).select("script")
    assert "### Code of v2" in markdown
    assert "x = '&#60;script&#62;'" in markdown


def test_digits_of_figures_follow_from_their_intervals():
    costs, answers = {"v1": 0.00123, "v2": 0.21}, {"v1": "no", "v2": "yes"}
    runs = [
        run(
            tag,
            number,
            answers[tag] if number % 7 else "yes",
            latency_s=1000 + number,
            cost_usd=cost,
        )
        for tag, cost in costs.items()
        for number in range(50)
    ]
    cmp = compared(
        *runs, cases=wanted(dict.fromkeys(range(50), "yes")), metrics=["exact", "latency_s"]
    )
    html, markdown = cmp.to_html(), cmp.to_markdown()
    found = {name: texts(html, f".of-{name}") for name in ("mean", "mean_low", "delta", "cost_usd")}
    assert found["mean"] == ["0.16", "1.00", "1,024", "1,024"]
    assert found["mean_low"][:2] == ["0.07", "0.93"]
    assert found["delta"][0] == "0.84"
    assert found["cost_usd"] == ["$0.0012", "$0.2100"]
    assert "| 0.16 (0.07 to 0.29, n = 50) |" in markdown
    assert "| $0.0012 (no interval, n = 50) |" in markdown
    assert texts(html, 'td.id[title="release-of-v1"] code') == ["release-of-v1"]
