"""Failure names: tags of runs, counts by release with intervals, and proposals of judges."""

import pytest
from dom_kit import texts
from report_kit import compared, failed, run
from scipy.stats import binomtest

import vellum_nb as vnb
from vellum_nb.comparison.cases import named, with_failure, without_failure
from vellum_nb.errors import InputError


def test_names_are_tags_with_who_gave_them():
    tags = with_failure(["seen"], " wrong  category ", "ann: b")
    assert tags == ["seen", "failure@ann- b:wrong category"]
    assert with_failure(tags, "wrong category", None) == tags
    tags = with_failure(tags, "rude: very", None)
    assert named(tags) == {"wrong category": "ann- b", "rude: very": ""}
    assert without_failure(tags, "wrong category") == ["seen", "failure:rude: very"]
    assert named(["failure:", "failure: ", "failures:x", "x failure:y", "failure"]) == {}
    for name in ("", " \n", "x" * 81, "\u202e\x1b"):
        with pytest.raises(InputError, match="give 1 to 80 printable characters"):
            with_failure([], name, "ann")
    with pytest.raises(InputError, match="name must be a text, not 5"):
        with_failure([], 5, "ann")


def test_cases_are_counted_by_name_and_release_with_their_intervals(tmp_path):
    marked = {("v2", "a"): ("failure@ann:rude",), ("v2", "b"): ("failure:rude", "failure:wrong")}
    marked |= {("v1", "c"): ("failure:wrong", "other")}
    runs = [
        run(tag, text, tags=marked.get((tag, text), ()))
        for text in "abcdefghij"
        for tag in ("v1", "v2")
    ]
    runs.append(run("v2", "a", tags=("failure:rude",)))  # a repeat counts no case twice
    runs.append(failed("v2", "k").model_copy(update={"tags": ("failure:rude",)}))  # no answer
    cmp = compared(*runs)
    frame = cmp.failures()
    assert list(frame) == ["name", "release", "count", "n", "share", "low", "high", "proposed"]
    assert frame[["name", "release", "count", "n"]].to_numpy().tolist() == [
        ["rude", "v1", 0, 10], ["rude", "v2", 2, 10],
        ["wrong", "v1", 1, 10], ["wrong", "v2", 1, 10],
    ]  # fmt: skip
    for row in frame.to_dict("records"):
        ci = binomtest(row["count"], row["n"]).proportion_ci(method="exact")
        assert (row["share"], row["low"], row["high"]) == pytest.approx(
            (row["count"] / row["n"], *ci), abs=1e-9
        )
    assert cmp.frame()["failures@v2"].tolist()[:3] == ['["rude"]', '["rude","wrong"]', "[]"]
    text = cmp.to_markdown(only="missing")
    assert "| <code>rude</code> | 0 of 10 (0 % to 31 %) | 2 of 10 (3 % to 56 %) |" in text
    html = cmp.to_html(tmp_path / "report.html").read_text("utf-8")
    assert [text[:7] for text in texts(html, "td") if text.startswith("2 of")] == ["2 of 10"]
    none = compared(run("v1"))
    assert none.failures().empty
    assert "failures@v1" not in none.frame()


def test_note_is_stored_with_a_run():
    with vnb.connect("local", history=":memory:") as ws:
        sent = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v1")
        cmp = ws.compare("ticket-triage", release_tags=["v1"])
        assert cmp.note(sent, "odd").note == "odd"
        assert cmp.note(sent.id, None).note is None
        with pytest.raises(InputError, match="run must be a run of this comparison"):
            cmp.note("nothing", "odd")


def test_note_needs_a_workspace():
    odd = run("v1")
    with pytest.raises(InputError, match="no workspace to store notes"):
        compared(odd).note(odd, "odd")


@pytest.fixture
def ws():
    def reply(ticket: str) -> dict[str, str]:
        return {"reply": ticket}

    def grader(answer: str) -> dict[str, object]:
        names = {"a": ["rude", "too long", "x" * 90, 7], "b": "rude", "c": {"rude": 1}}
        return {"score": 0.5, "failures": names.get(answer, [])}

    with vnb.LocalServer() as server, vnb.connect(server, history=":memory:") as ws:
        for tag in ("v1", "v2"):
            server.deploy(reply, name="echo", release_tags=[tag], description=tag)
            for ticket in "abcd":
                ws.run("echo", {"ticket": ticket}, release_tag=tag)
        server.deploy(grader, name="grader")
        yield ws


def test_name_given_after_the_comparison_was_made_counts_at_once(ws):
    cmp = ws.compare("echo")
    assert cmp.failures().empty
    run = next(run for run in ws.history.runs(release_tag="v2") if run.inputs["ticket"] == "a")
    ws.history.annotate(run.id, tags=["failure@ann:rude"])
    rows = cmp.failures()[["name", "release", "count"]]
    assert rows.to_numpy().tolist() == [["rude", "v1", 0], ["rude", "v2", 1]]


def test_names_of_a_comparison_remain_readable_after_the_history_is_closed(ws):
    run = next(run for run in ws.history.runs(release_tag="v2") if run.inputs["ticket"] == "a")
    ws.history.annotate(run.id, tags=["failure@ann:rude"])
    cmp = ws.compare("echo")
    ws.close()
    assert cmp.failures()["name"].unique().tolist() == ["rude"]


def test_a_judge_proposes_names_until_they_are_confirmed(ws):
    judge = ws.judge("grader", inputs={"answer": "output.reply"})

    def counts():
        cmp = ws.compare("echo", metrics=judge, progress=False)
        rows = cmp.failures()
        svg = cmp.chart("failures").svg()
        assert rows["name"].unique().tolist() == ["rude", "too long"]
        row = rows[(rows["name"] == "rude") & (rows["release"] == "v2")]
        assert f"v2: {row['count'].item()} of 4, {row['proposed'].item()} proposed" in svg
        return row[["count", "proposed", "n"]].to_numpy().tolist()

    assert counts() == [[0, 2, 4]]
    run = next(each for each in ws.history.runs(release_tag="v2") if each.inputs["ticket"] == "a")
    ws.history.annotate(run.id, tags=["failure@ann:rude"])
    assert counts() == [[1, 1, 4]]
    again = vnb.compare(ws.history.frame(deployment="echo")).failures()
    assert again[["name", "release", "count"]].to_numpy().tolist() == [
        ["rude", "v1", 0],
        ["rude", "v2", 1],
    ]
