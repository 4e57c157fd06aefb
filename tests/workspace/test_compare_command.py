"""``vellum-nb compare``; and the commands of docs/how-to/ci.md, as processes of their own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import command_kit
import pytest

import vellum_nb as vnb
from vellum_nb.local import samples

CI = Path(__file__).parents[2] / "docs" / "how-to" / "ci.md"
TAGS = ("--release-tag", "v1", "--release-tag", "v2")


def quiet(text: str) -> dict[str, object]:
    return {"loud": text}


def loud(text: str) -> dict[str, object]:
    return {"loud": text.upper()}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Return what the command finds a server and a history by."""
    with vnb.LocalServer() as server:
        server.deploy(quiet, name="shout", release_tags=["v1"])
        server.deploy(loud, name="shout", release_tags=["v2"])
        key = {"VELLUM_API_KEY": server.api_key, "VELLUM_API_URL": server.url}
        yield key | {"VELLUM_NB_HISTORY": str(tmp_path_factory.mktemp("command") / "runs.db")}


@pytest.fixture
def command(environment, tmp_path, monkeypatch):
    """Return what runs the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments, **other):
        done = command_kit.run(*arguments, **(environment | other))
        return done.returncode, done.stdout, done.stderr

    return command


@pytest.fixture(scope="module")
def history(environment, tmp_path_factory):
    """Fill the history: of three cases v2 is worse in two."""
    cases = tmp_path_factory.mktemp("cases") / "cases.csv"
    cases.write_text("text,expected.loud\na,a\nb,b\nC,C\n", encoding="utf-8")
    assert command_kit.run("sweep", "shout", str(cases), *TAGS, **environment).returncode == 0


@pytest.fixture
def swept(history, command):
    return command


def test_a_gate_that_nothing_can_be_decided_by_says_what_to_give(command, tmp_path):
    plain = tmp_path / "plain.csv"
    plain.write_text("text\na\nb\n", encoding="utf-8")
    own = {"VELLUM_NB_HISTORY": str(tmp_path / "runs.db")}
    assert command("sweep", "shout", str(plain), *TAGS, **own)[0] == 0
    status, out, err = command("compare", "shout", *TAGS, "--fail-on-regression", **own)
    assert (status, out) == (1, "")
    assert "give --metric, or --cases with a column expected.<output>, or rate runs" in err


OPEN = (
    "v2: cannot tell yet. 0 better, 2 worse of 3 cases; "
    "6 cases are needed to estimate how many more would decide."
)


def test_what_is_compared_is_reported_and_by_itself_fails_nothing(swept):
    status, out, err = swept("compare", "shout", *TAGS, "--metric", "exact")
    assert (status, err) == (0, "")
    assert out.startswith(
        "shout against v1, 3 cases\n"
        f"  {OPEN}\n"
        "  v2: 0 better · 2 worse · 1 same · p = 0.25 · no repeats (exact)\n"
        "    not enough data"
    )
    rows = json.loads(swept("compare", "shout", *TAGS, "--metric", "exact", "--json")[1])
    assert [(row["release"], row["metric.exact"]) for row in rows] == [("v1", 1.0), ("v2", 1 / 3)]


GATE = ("compare", "shout", *TAGS, "--metric", "exact", "--fail-on-regression")
IMPROVED = ("compare", "shout", *TAGS, "--baseline", "v2", "--fail-on-regression")


def test_a_regression_decides_the_status(swept):
    status, out, err = swept(*GATE)
    assert status == 1
    assert out.startswith("shout against v1, 3 cases\n")
    assert err.startswith("vellum-nb: shout: v2 did not pass against v1, 3 cases:\n")
    assert "  2 cases are worse; max_regressions=0 allows none\n" in err
    assert err.count("\n  - case ") == 2
    assert "Traceback" not in err


def test_as_many_regressions_as_allowed_pass(swept):
    assert swept(*GATE, "--max-regressions", "2")[0] == 0


def test_what_no_outcome_could_fail_is_inconclusive(swept):
    status, _, err = swept(*GATE, "--max-regressions", "any")
    assert status == 3
    assert "no outcome of 3 cases could fail: all of them may be worse" in err
    assert swept(*GATE, "--max-regressions", "any", "--allow-inconclusive")[0] == 0


MARGIN = ("compare", "shout", *TAGS, "--metric", "exact", "--margin")


def test_a_margin_has_three_statuses(swept, tmp_path):
    status, out, err = swept(*MARGIN, "0.05", "--markdown", "--junit", "junit.xml")
    assert status == 3
    assert err.startswith("vellum-nb: shout: v2 is inconclusive against v1, 3 cases:\n")
    assert OPEN in err
    assert out.startswith(f"> **Cannot tell yet.**\n>\n> - <code>{OPEN}</code>\n")
    assert OPEN in (tmp_path / "junit.xml").read_text(encoding="utf-8")
    status, _, err = swept(*MARGIN, "0.05", "--allow-inconclusive")
    assert status == 0
    assert OPEN in err
    slow = ("--metric", "latency_s", "--margin", "latency_s=1e6%", "--margin", "exact=0.05")
    assert swept("compare", "shout", *TAGS, "--metric", "exact", *slow)[0] == 3


def test_junit_has_the_gates_that_are_given(swept, tmp_path):
    for gate, suites in (((), 1), (("--fail-on-regression",), 2)):
        swept(*MARGIN, "0.05", *gate, "--junit", "junit.xml")
        root = ET.parse(tmp_path / "junit.xml").getroot()  # noqa: S314  (ours)
        assert len(root) == suites


@pytest.mark.slow
def test_a_margin_fails_and_passes(command, tmp_path):
    lines = [f"{letter}{n},{letter}{n}" for letter in "aX" for n in range(50)]
    for name, chosen in (("worse", lines), ("same", lines[50:])):
        text = "\n".join(["text,expected.loud", *chosen])
        (tmp_path / f"{name}.csv").write_text(f"{text}\n", encoding="utf-8")
    own = {"VELLUM_NB_HISTORY": str(tmp_path / "runs.db")}
    assert command("sweep", "shout", "worse.csv", *TAGS, **own)[0] == 0
    status, _, err = command(*MARGIN, "0.05", "--cases", "worse.csv", **own)
    assert status == 1
    assert "v2 should not replace v1: worse on 50 of 100 cases" in err
    status, out, err = command(*MARGIN, "10%", "--cases", "same.csv", **own)
    verdict = "v2 may replace v1: no difference larger than 10 % (0.10) (95 %, 50 cases)."
    assert (status, err) == (0, f"vellum-nb: {verdict}\n")
    assert verdict in out


def test_improved_cases_are_named(swept):
    status, out, _ = swept(*IMPROVED)
    assert status == 0
    assert "\n    cases that are better: 1, 2\n" in out


def test_improved_cases_are_named_in_markdown_and_junit(swept, tmp_path):
    out = swept(*IMPROVED, "--markdown", "--junit", "better.xml")[1]
    assert "\n### Better: 2 cases\n" in out
    root = ET.parse(tmp_path / "better.xml").getroot()  # noqa: S314  (ours)
    named = [each.text for each in root.iter("system-out") if each.text.startswith("better: ")]
    assert len(named) == 2


def test_reports_are_written_also_when_it_fails(swept, tmp_path):
    status, out, _ = swept(
        "compare", "shout", *TAGS, "--metric", "exact", "--metric", "latency_s",
        "--fail-on-regression", "--markdown", "--junit", "junit.xml", "--html", "report.html",
        "--csv", "cases-compared.csv",
    )  # fmt: skip
    assert status == 1
    assert out.startswith("> **Does not pass.**\n>\n> - <code>v2 by exact: 2 cases are worse; ")
    assert "\n### Regressions: 2 cases\n" in out
    assert "**Case 3**" not in out
    root = ET.parse(tmp_path / "junit.xml").getroot()  # noqa: S314  (ours)
    assert [suite.get("failures") for suite in root] == ["3"]
    assert len(vnb.read_csv(tmp_path / "cases-compared.csv")) == 3
    for name in ("report.html", "report.runs.csv", "report.cases.csv"):
        assert (tmp_path / name).stat().st_size > 100
    passing = ("--max-regressions", "2", "--fail-on-regression", "--markdown", "a.md")
    status, out, _ = swept("compare", "shout", *TAGS, *passing)
    assert (status, out) == (0, "")
    text = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert text.startswith("> **Passes.**\n>\n> - <code>v2 passes against v1: 0 better · 2 worse")


def test_cases_of_a_file_are_compared_and_those_not_run_are_missing(swept, tmp_path):
    more = tmp_path / "more.csv"
    more.write_text("text,expected.loud\na,a\nnew,new\n", encoding="utf-8")
    gate = ("compare", "shout", *TAGS, "--cases", str(more), "--fail-on-regression")
    status, _, err = swept(*gate)
    assert status == 1
    assert "1 case has no answer or no figure; max_missing=0" in err
    assert "no run on v1, no run on v2" in err
    inconclusive = ("--max-missing", "1", "--max-regressions", "1")  # of one case, one may be worse
    assert swept(*gate, *inconclusive)[0] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--release-tag", "v1", "--baseline", "v9"), "'v9' is not a compared release"),
        (("--metric", "speed"), "there is no metric 'speed'; available: "),
        (("--history", "nowhere.db"), "There is no history nowhere.db"),
        (("--release-tag", "v1", "--fail-on-regression"), "only v1 is compared"),
        (("--max-regressions", "-1", "--fail-on-regression"), "max_regressions must be"),
        (("--cluster", "label.page"), "no case has"),
        (("--margin", "much"), "margin must be a number such as 0.05"),
        (("--margin", "0.1", "--margin", "x=1"), "--margin 0.1: name its metric, as METRIC=0.1"),
        (("--metric", "latency_s", "--metric", "length", "--margin", "1"), "latency_s needs a"),
    ],
)
def test_what_does_not_fit_is_one_line(swept, arguments, message):
    status, out, err = swept("compare", "shout", *arguments)
    assert (status, out) == (1, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_the_commands_of_the_page_on_ci_run(tmp_path):
    """The workflow of the page is run step by step, against a server with the sample's releases."""
    (tmp_path / "cases").mkdir()
    with vnb.LocalServer(samples=True) as server:
        sample = samples.cases("ticket-triage")
        (tmp_path / "cases" / "ticket-triage.csv").write_bytes(sample.read_bytes())
        known = os.environ | {
            "VELLUM_API_KEY": server.api_key,
            "VELLUM_API_URL": server.url,
            "VELLUM_NB_HISTORY": str(tmp_path / "runs.db"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        done = [
            subprocess.run(["bash", "-e", "-c", step], env=known, cwd=tmp_path, check=False)
            for step in steps(CI.read_text(encoding="utf-8"))
        ]
    assert [each.returncode for each in done] == [0, 1]
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("> **Does not pass.**")
    assert "## ticket-triage: may v3 replace production?" in summary
    assert (tmp_path / "junit.xml").exists()
    assert (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_the_test_of_the_page_on_ci_is_one(monkeypatch, tmp_path):
    found = re.search(r"```python\n(.*?)```", CI.read_text(encoding="utf-8"), re.DOTALL)[1]
    scope = {}
    exec(found, scope)  # noqa: S102  (the page's own example)
    (tmp_path / "cases").mkdir()
    sample = samples.cases("ticket-triage").read_bytes()
    (tmp_path / "cases" / "ticket-triage.csv").write_bytes(sample)
    monkeypatch.chdir(tmp_path)
    with vnb.LocalServer(samples=True) as server:
        monkeypatch.setenv("VELLUM_API_KEY", server.api_key)
        monkeypatch.setenv("VELLUM_API_URL", server.url)
        with pytest.raises(vnb.RegressionError, match="7 cases are worse; max_regressions=2"):
            scope["test_the_candidate_is_as_good_as_production"]()
        server.move_tag("ticket-triage", "v3", "v2")
        scope["test_the_candidate_is_as_good_as_production"]()


def steps(page):
    """Return what the steps of the workflow run, but for installing; a block each."""
    workflow = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1]
    found = re.findall(
        r"^( +)(?:- )?run: (?:>-\n((?:\1 .*\n)+)|\|\n((?:\1 .*\n)+)|(.+))", workflow, re.MULTILINE
    )
    texts = [
        " ".join(folded.split()) if folded else (kept or line) for _, folded, kept, line in found
    ]
    return [text for text in texts if "pip install" not in text]
