"""From a deployment's name to a row in the history, through the real server and a real file."""

import pytest
from runs_kit import html_of

import vellum_nb as vnb


def test_a_run_is_a_row_with_the_release_its_tag_pointed_at(ws):
    run = ws.run("shout", {"text": "hi", "times": 2}, release_tag="v2", metadata={"who": "me"})
    assert run.state == "FULFILLED"
    assert run.outputs == {"loud": "HI HI"}
    assert run.latency_s is not None
    kept = ws.history.get(run.id)
    assert kept == run
    frame = ws.history.frame()
    release = ws.releases("shout").query("release_tags.str.contains('v2')")["release_id"].item()
    assert frame["release_id"].tolist() == [release]
    assert frame["input.text"].tolist() == ["hi"]
    assert frame["output.loud"].tolist() == ["HI HI"]


@pytest.mark.parametrize("way", ["run", "stream", "submit"])
def test_a_rejected_run_is_a_value(ws, way):
    run = getattr(ws, way)("refuse", {"text": "beer"})
    if way == "stream":
        assert [event.state for event in run][-1] == "REJECTED"
        run = run.run
    if way == "submit":
        run = run.wait(20, poll=0.01)
    assert (run.state, run.error.code) == ("REJECTED", "USER_DEFINED_ERROR")
    assert "no beer today" in run.error.message
    assert ws.history.get(run.id) == run


def test_a_repeated_external_id_is_refused_before_it_is_sent(ws):
    ws.run("shout", {"text": "x"}, external_id="once")
    with pytest.raises(vnb.VellumNBError, match="once"):
        ws.run("shout", {"text": "x"}, external_id="once")


@pytest.mark.parametrize("way", ["run", "stream"])
def test_an_interrupt_ends_the_run_and_the_row_says_cancelled(
    ws, gate, faucet, way, interrupt_after
):
    interrupt_after(lambda: (gate.entered if way == "run" else faucet.said).wait(120))
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  (a stream is read in it)
        if way == "run":
            ws.run("gate", {"text": "x"})
        list(ws.stream("faucet", {"text": "x"}))
    assert [run.state for run in ws.history.runs()] == ["CANCELLED"]


@pytest.mark.parametrize("streaming", [False, True])
def test_cancel_cuts_a_call_off_at_once_and_the_row_says_so(ws, gate, faucet, streaming):
    form = ws.form("faucet" if streaming else "gate")
    form.value, form.streaming = {"text": "hello"}, streaming
    form.submit()
    assert (faucet.said if streaming else gate.entered).wait(120)
    form.cancel()
    (run,) = form.wait(15)  # the workflow itself waits for 20 s
    form.close()
    assert (run.state, run.error.code) == ("CANCELLED", "CANCELLED")
    assert ws.history.get(run.id) == run


@pytest.fixture
def executing(execute_only, server, tmp_path):
    history = tmp_path / "runs.db"
    with vnb.connect(execute_only, api_key=server.api_key, history=history) as workspace:
        yield workspace


def test_a_key_that_may_not_read_runs_and_its_form_is_of_what_is_given_or_was_recorded(executing):
    with pytest.raises(vnb.AuthenticationError) as caught:
        executing.form("shout")
    assert "variables=" in caught.value.__notes__[0]
    form = executing.form("shout", variables=[{"key": "text", "type": "STRING"}])
    form.value = {"text": "loud"}
    form.submit()
    (run,) = form.wait(120)
    assert (run.outputs, run.release_id) == ({"loud": "LOUD"}, None)
    form.close()
    form = executing.form("shout")
    assert set(form.value) <= {"text"}
    assert "last recorded run" in html_of(form)
    form.close()


@pytest.mark.parametrize("item", ["ticket", {"name": "ticket", "type": "STRING"}, None])
def test_a_variable_that_is_none_says_how_to_write_one(ws, item):
    with pytest.raises(vnb.InputError, match=r"write one like \{.key.: |give a list of VellumVar"):
        ws.form("shout", variables=[item])


def test_deployments_and_releases_are_frames_with_dtypes(ws):
    frame = ws.deployments()
    assert frame["name"].tolist() == ["faucet", "gate", "refuse", "shout"]
    assert frame.set_index("name").loc["shout", "inputs"] == "text: STRING, times?: NUMBER"
    assert str(frame["created"].dtype) == "datetime64[us, UTC]"
    assert len(ws.releases("shout")) == 2


def test_connect_without_a_key_says_that_it_is_local(capsys, tmp_path):
    with vnb.connect(history=tmp_path / "runs.db") as ws:
        assert "No VELLUM_API_KEY" in capsys.readouterr().out
        assert "ticket-triage" in ws.deployments()["name"].tolist()
        assert vnb.connect("local", history=":memory:").server is ws.server


def test_the_key_is_in_no_repr(server, ws):
    for thing in (ws, ws.client, server, ws.history):
        assert server.api_key not in repr(thing)
    assert server.api_key not in html_of(ws)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("prod", "Cannot connect to 'prod'; give \"vellum\""),
        ("ftp://files.example", "Cannot connect to a URL that does not"),
        ("postgresql://a:secret@db.example/x", "does not .* pass a database .* as history="),
    ],
)
def test_connect_says_what_it_can_connect_to(target, said):
    with pytest.raises(vnb.VellumNBError, match=said) as caught:
        vnb.connect(target, api_key="k")
    assert "secret" not in str(caught.value)


def test_a_history_that_cannot_be_opened_is_refused_and_the_client_closed(server, tmp_path):
    with pytest.raises(vnb.HistoryError, match="cannot be opened"):
        vnb.connect(server, history=tmp_path)


def test_the_environment_says_where_runs_go_but_vellum_is_the_cloud(
    monkeypatch, server, tmp_path, capsys
):
    monkeypatch.setenv("VELLUM_API_KEY", server.api_key)
    monkeypatch.setenv("VELLUM_API_URL", server.url + "/")
    with vnb.connect(history=tmp_path / "runs.db") as ws:
        assert ws.run("shout", {"text": "x"}).state == "FULFILLED"
        assert ws.server is None
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("VELLUM_API_URL", server.url)
    with vnb.connect("vellum", api_key="k", history=tmp_path / "runs.db") as ws:
        assert ws.source == "Vellum"
        assert ws.client.base_url == "https://api.vellum.ai"


def test_two_workspaces_share_a_history_and_each_syncs_with_its_own_server(server):
    def other(text: str) -> str:
        return text

    with vnb.LocalServer() as second, vnb.History(":memory:") as history:
        second.deploy(other, name="other")
        one = vnb.connect(server, history=history)
        two = vnb.connect(second, history=history)
        run = one.run("shout", {"text": "a"})
        two.run("other", {"text": "b"})
        assert one.sync("shout").known == 1
        assert two.sync("other").known == 1
        two.close()
        assert one.trace(run) is not None
        assert history.count() == 2
        with pytest.raises(vnb.HistoryError):
            history.view()  # nothing was written into the one that was handed in
        one.close()


@pytest.mark.slow
def test_connect_local_works_again_after_its_server_was_stopped():
    first = vnb.connect("local", history=":memory:")
    first.server.stop()
    with vnb.connect("local", history=":memory:") as again:
        assert again.run("ticket-triage", {"ticket": "charged twice"}).state == "FULFILLED"
    first.close()
