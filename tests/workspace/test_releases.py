"""Moving release tags, and reading the code of releases."""

import io

import pytest
from runs_kit import html_of

import vellum_nb as vnb


@pytest.fixture
def production(server, ws):
    """Have production point at v1, and return what says where it points."""
    v1 = ws.client.retrieve_workflow_deployment_release("shout", "v1")
    server.deploy(lambda text: text, name="shout", release_tags=["production"])
    ws.client.update_workflow_release_tag("shout", "production", history_item_id=v1.id)
    return lambda: ws.run("shout", {"text": "hi"}, release_tag="production").outputs["loud"]


def say(monkeypatch, answer):
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))


@pytest.mark.parametrize("answer", ["y\n", "Yes \n"])
def test_a_tag_is_moved_after_a_question(ws, production, monkeypatch, capsys, answer):
    say(monkeypatch, answer)
    assert production() == "hi"
    tag = ws.move_tag("shout", "production", "v2")
    assert "Move production of shout from v1 to v2? [y/N]" in capsys.readouterr().out
    assert tag.release_id == ws.client.retrieve_workflow_deployment_release("shout", "v2").id
    assert production() == "HI"


@pytest.mark.parametrize("answer", ["n\n", "\n", "perhaps\n", ""])
def test_any_other_answer_or_none_leaves_it_where_it_is(ws, production, monkeypatch, answer):
    say(monkeypatch, answer)
    before = ws.client.retrieve_workflow_release_tag("shout", "production")
    if answer:
        assert ws.move_tag("shout", "production", "v2") == before
    else:  # the prompt cannot be answered
        with pytest.raises(vnb.VellumNBError, match="pass confirm=False. It was not moved"):
            ws.move_tag("shout", "production", "v2")
    assert production() == "hi"


def test_a_release_id_does_as_well_and_no_question_is_asked(ws, production):
    v2 = ws.client.retrieve_workflow_deployment_release("shout", "v2")
    assert ws.move_tag("shout", "production", v2.id, confirm=False).release_id == v2.id
    assert production() == "HI"
    assert ws.move_tag("shout", "production", "v2").release_id == v2.id


@pytest.mark.parametrize(("tag", "to"), [("staging", "v1"), ("production", "v9")])
def test_an_unknown_tag_lists_the_known_ones(ws, production, tag, to):
    with pytest.raises(vnb.NotFoundError, match="shout has no release tag .* available: "):
        ws.move_tag("shout", tag, to, confirm=False)


def test_code_of_a_callable_is_its_source(ws):
    code = ws.code("shout", "v1")
    assert list(code) == ["workflow.py"]
    assert "Say it as it is" in code["workflow.py"]


def test_code_of_two_releases_is_compared(ws):
    diff = ws.code_diff("shout", "v1", "v2")
    assert repr(diff).startswith("<CodeDiff shout v1 → v2: 1 file differs (+")
    assert "--- v1/workflow.py\n+++ v2/workflow.py\n" in diff.text
    assert "+def shout(text: str, times: int = 1)" in diff.text
    html = html_of(diff)
    assert "-&gt; dict[str, object]" in html
    assert "<ins " in html


def test_code_of_one_release_does_not_differ(ws):
    same = ws.code_diff("shout", "v1", "v1")
    assert (same.paths, same.text) == ([], "")
    assert "no difference" in repr(same)


def test_code_of_a_callable_is_compared_with_that_of_a_file(ws, server, tmp_path):
    file = tmp_path / "louder.py"
    file.write_text("def shout(text: str) -> str:\n    return text.upper()\n")
    server.deploy(file, name="shout", release_tags=["v3"])
    diff = ws.code_diff("shout", "v2", "v3")
    assert diff.paths == ["workflow.py"]
    assert "/dev/null" not in diff.text


def test_a_report_shows_the_code_of_the_releases_that_were_compared_and_of_no_other(server, ws):
    for tag in ("v1", "v2"):
        ws.run("shout", {"text": "hi"}, release_tag=tag)
    cmp = ws.compare("shout")
    assert "+def shout(text: str, times: int = 1)" in cmp.code_diffs["v2"].text
    assert "<b>Code of v2</b>" in cmp.to_html()
    server.deploy(lambda text: text[::-1], name="shout", release_tags=["v2"])
    later = ws.compare("shout")
    assert later.code_diffs == {}, "v2 is another release by now"
    assert "Code of v2" not in later.to_html()
