"""Case sets: cases from anywhere, duplicates, versions, and files with the same identity."""

from datetime import datetime

import pytest

import vellum_nb as vnb
from vellum_nb.errors import InputError

CHARGED = {"ticket": "I was charged twice", "expected.category": "billing"}
CRASH = {"ticket": "The app crashes", "expected.category": "bug", "channel": "chat"}


@pytest.fixture(scope="module")
def shared():
    with vnb.connect("local", history=":memory:") as ws:
        yield ws


@pytest.fixture
def ws(shared):
    with vnb.connect(shared.server, history=":memory:") as workspace:
        yield workspace


@pytest.fixture
def suite(ws):
    return ws.case_set("billing", deployment="ticket-triage")


def rows(suite, *columns, **options):
    return suite.frame(**options)[list(columns)].to_numpy().tolist()


def test_columns_of_added_cases_get_their_role_from_the_deployment(suite):
    suite.add([CHARGED, CRASH])
    frame = suite.frame()
    assert list(frame.columns) == ["input.ticket", "expected.category", "label.channel"]
    assert frame["label.channel"].fillna("").tolist() == ["", "chat"]


def test_columns_of_a_history_frame_become_columns_of_cases(ws):
    run = ws.run("ticket-triage", {"ticket": "I was charged twice", "vip": True}, release_tag="v2")
    ws.rate(run, quality=0, desired={"category": "billing"})
    suite = ws.case_set("production")
    suite.add(ws.history.frame(), labels={"source": "production"})
    columns = ("input.ticket", "input.vip", "expected.category", "label.source")
    assert rows(suite, *columns) == [["I was charged twice", True, "billing", "production"]]
    assert suite.deployment == "ticket-triage"
    assert suite.frame().index.tolist() == [run.case_id]


@pytest.mark.parametrize("form", ["run", "frame"])
def test_run_rated_1_expects_its_own_outputs(ws, form):
    run = ws.rate(ws.run("ticket-triage", {"ticket": "a refund"}, release_tag="v2"), quality=1)
    suite = ws.case_set("good")
    suite.add([run] if form == "run" else ws.history.frame())
    expected = suite.frame().filter(like="expected.").iloc[0]
    assert expected["expected.category"] == run.outputs["category"]
    assert expected["expected.reply"] == run.outputs["reply"]


def test_run_rated_below_1_expects_nothing(ws):
    run = ws.rate(ws.run("ticket-triage", {"ticket": "a refund"}, release_tag="v2"), quality=0)
    suite = ws.case_set("bad")
    suite.add([run])
    assert not [name for name in suite.frame() if name.startswith("expected.")]


def test_duplicates_are_counted_and_get_missing_labels(suite):
    suite.add([CHARGED])
    change = suite.add([{**CHARGED, "channel": "mail"}, CRASH])
    assert (change.duplicates, len(change.added), len(change.updated)) == (1, 1, 1)
    assert rows(suite, "label.channel") == [["mail"], ["chat"]]


def test_adding_the_same_cases_again_stores_no_version(suite):
    suite.add([CHARGED])
    assert suite.add([CHARGED, CHARGED]).version is None
    assert suite.version == 1


def test_conflicting_expected_outputs_are_listed_while_those_of_the_set_are_kept(suite):
    suite.add([CHARGED])
    change = suite.add([{**CHARGED, "expected.category": "account"}])
    (conflict,) = change.conflicts
    assert (conflict.output, conflict.kept, conflict.given) == ("category", "billing", "account")
    assert "category (kept billing, not account)" in str(change)
    assert rows(suite, "expected.category") == [["billing"]]


def test_conflicts_between_runs_of_one_call_are_listed(ws):
    for category in ("account", "billing"):
        run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v1")
        ws.history.annotate(run.id, desired={"category": category})
    change = ws.case_set("production").add(ws.history.runs())
    assert [(c.kept, c.given) for c in change.conflicts] == [("billing", "account")]


def test_update_replaces_expected_outputs_and_leaves_others(suite):
    suite.add([{**CHARGED, "expected.priority": "high"}])
    suite.update([{**CHARGED, "expected.category": "account"}])
    assert rows(suite, "expected.category", "expected.priority") == [["account", "high"]]


def test_update_accepts_an_edited_frame(suite):
    suite.add([CHARGED, CRASH])
    frame = suite.frame()
    frame["label.reviewed"] = "ann"
    assert len(suite.update(frame).updated) == 2


def test_update_refuses_a_case_that_is_not_in_the_set(suite):
    suite.add([CHARGED])
    with pytest.raises(InputError, match="has no case"):
        suite.update([CRASH])


def test_removed_cases_remain_in_older_versions(suite):
    suite.add([CHARGED, CRASH])
    suite.remove(suite.frame().index[:1], message="duplicate of another")
    assert rows(suite, "input.ticket") == [["The app crashes"]]
    assert len(suite.frame(version=1)) == 2


def test_remove_refuses_an_unknown_case(suite):
    suite.add([CHARGED])
    with pytest.raises(InputError, match="Case set 'billing' has no case 'x'; frame"):
        suite.remove("x")
    assert suite.version == 1


def test_versions_have_numbers_counts_and_messages(suite):
    suite.add([CHARGED], message="first")
    suite.add([CRASH, {**CHARGED, "channel": "mail"}], message="second")
    suite.remove(suite.frame().index[0])
    names = ["version", "message", "cases", "added", "updated", "removed"]
    assert suite.versions()[names].to_numpy().tolist() == [
        [3, "", 1, 0, 0, 1],
        [2, "second", 2, 1, 1, 0],
        [1, "first", 1, 1, 0, 0],
    ]


def test_diff_has_a_row_per_changed_value(suite):
    suite.add([CHARGED])
    suite.add([CRASH])
    suite.update([{**CHARGED, "expected.category": "account"}])
    diff = suite.diff(1, 3)[["change", "column", "before", "after"]]
    assert diff.astype("object").where(diff.notna(), None).to_numpy().tolist() == [
        ["updated", "expected.category", "billing", "account"],
        ["added", "input.ticket", None, "The app crashes"],
        ["added", "expected.category", None, "bug"],
        ["added", "label.channel", None, "chat"],
    ]


def test_unknown_version_is_an_error(suite):
    suite.add([CHARGED])
    with pytest.raises(vnb.HistoryError, match="has no version 7; versions"):
        suite.frame(version=7)


def test_cases_without_a_known_deployment_are_refused(ws):
    with pytest.raises(InputError, match=r"ws\.case_set\('new', deployment='\.\.\.'\)"):
        ws.case_set("new").add([CHARGED])


def test_value_that_does_not_fit_the_deployment_is_refused(suite):
    with pytest.raises(InputError, match="1 value does not fit ticket-triage"):
        suite.add([{"ticket": "text", "vip": "perhaps"}])
    assert suite.version == 0


def test_set_of_another_deployment_is_refused(ws, suite):
    suite.add([CHARGED])
    with pytest.raises(InputError, match="has cases of ticket-triage, not of support-bot"):
        ws.case_set("billing", deployment="support-bot")


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a" * 201, 5])
def test_invalid_name_is_refused(ws, name):
    with pytest.raises(InputError, match="name must be a text of at most 200 characters"):
        ws.case_set(name)


def test_case_sets_lists_every_set(ws, suite):
    suite.add([CHARGED])
    suite.add([CRASH])
    ws.case_set("chat", deployment="support-bot").add([{"turns": ["Hello", "A refund"]}])
    names = ["name", "deployment", "cases", "version"]
    assert ws.case_sets[names].to_numpy().tolist() == [
        ["billing", "ticket-triage", 2, 2],
        ["chat", "support-bot", 1, 1],
    ]


TYPED = [
    {"ticket": "=1+1", "vip": True, "expected.tags": ["a", "b"]},
    {"ticket": 'say "hi"\nnow', "vip": False, "seen": 3},
    {"ticket": "007", "channel": "mail"},
]


def test_csv_of_a_set_gives_the_same_cases(suite, ws, tmp_path):
    suite.add(TYPED)
    path = suite.to_csv(tmp_path / "billing.csv")
    other = ws.case_set("copy", deployment="ticket-triage")
    other.add(path)
    assert other.frame().equals(suite.frame())


def test_sweep_of_the_csv_resumes_the_sweep_of_the_set(suite, ws, tmp_path):
    suite.add(TYPED)
    sweep = ws.sweep("ticket-triage", suite, release_tags=["v2"], progress=False)
    path = suite.to_csv(tmp_path / "billing.csv")
    again = ws.sweep("ticket-triage", path, release_tags=["v2"], progress=False)
    assert again.id == sweep.id
    assert sorted(sweep.frame()["case_id"]) == sorted(suite.frame().index)


def test_added_case_is_one_more_line_at_the_end_of_the_csv(suite, tmp_path):
    suite.add([CRASH])
    before = suite.to_csv(tmp_path / "billing.csv").read_text()
    suite.add([{**CHARGED, "channel": "mail"}])
    after = suite.to_csv(tmp_path / "billing.csv").read_text()
    assert after == before + '"I was charged twice","billing","mail"\n'


def test_empty_set_cannot_be_swept(ws, suite):
    with pytest.raises(InputError, match="Case set 'billing' has no cases"):
        ws.sweep("ticket-triage", suite, release_tags=["v1"])


def test_conversations_are_cases_of_several_rows(ws):
    suite = ws.case_set("chat", deployment="support-bot")
    script = {"turns": ["My order A-1234 is broken", "A refund"], "expected.status": "refund"}
    assert len(suite.add([script]).added) == 1
    assert suite.add([script]).version is None
    assert suite.frame()["turn"].tolist() == [1, 2]
    sweep = ws.sweep("support-bot", suite, release_tags=["v1"], progress=False)
    assert set(sweep.frame()["case_id"]) == set(suite.frame().index)


TURNS = ["My order A-1234 is broken", "A refund"]
CHAT_ROWS = ("turn", "input.message", "expected.status")


@pytest.mark.parametrize("form", ["last turn", "all turns", "frame"])
def test_stored_conversation_is_added_with_its_whole_script(ws, form):
    last = ws.converse("support-bot", TURNS, release_tag="v1")[-1]
    ws.rate(last, quality=0, desired={"status": "refund"})
    given = {"last turn": [ws.history.get(last.id)], "all turns": ws.history.runs()}
    suite = ws.case_set("chat")
    suite.add(given.get(form, ws.history.frame()), labels={"source": "production"})
    frame = suite.frame()
    assert frame.index.tolist() == [last.case_id] * 2
    assert frame.loc[:, CHAT_ROWS].fillna("").to_numpy().tolist() == [
        [1, TURNS[0], ""],
        [2, TURNS[1], "refund"],
    ]
    assert set(frame["label.source"]) == {"production"}


def test_turn_rated_1_expects_its_own_outputs(ws):
    runs = ws.converse("support-bot", TURNS, release_tag="v1")
    ws.rate(runs[0], quality=1)
    suite = ws.case_set("chat")
    suite.add([runs[1]])
    assert suite.frame()["expected.status"].fillna("").tolist() == [runs[0].outputs["status"], ""]


def test_conversation_with_a_chat_history_is_added_without_its_answers(ws):
    run = ws.converse("docs-qa", ["Is there a trial?", "And then?"], release_tag="LATEST")[-1]
    suite = ws.case_set("docs")
    suite.add([run])
    assert suite.frame().index.tolist() == [run.case_id] * 2
    assert [name for name in suite.frame() if name.startswith("input.")] == ["input.question"]


def test_conversations_of_several_releases_are_one_case(ws):
    sweep = ws.sweep("support-bot", [{"turns": TURNS}], release_tags=["v1", "v2"], progress=False)
    change = ws.case_set("chat").add(sweep.runs())
    assert (len(change.added), change.duplicates) == (1, 1)


def test_conversation_without_its_first_turn_is_refused(ws):
    first, last = ws.converse("support-bot", TURNS, release_tag="v1")
    ws.history.delete(first)
    with pytest.raises(InputError, match="the history has only its turns 2"):
        ws.case_set("chat").add([last])


def test_single_runs_do_not_become_turns_of_conversations(ws):
    ws.run("support-bot", {"message": "Hello"}, release_tag="v1")
    ws.converse("support-bot", TURNS, release_tag="v1")
    with pytest.raises(InputError, match="put them into two sets"):
        ws.case_set("chat").add(ws.history.runs())


def test_runs_of_other_deployments_are_left_out(ws, suite):
    ws.converse("support-bot", TURNS, release_tag="v1")
    ws.run("ticket-triage", {"ticket": "a refund"}, release_tag="v2")
    change = suite.add(ws.history.frame())
    assert (len(change.added), change.notes) == (1, ("left out: 2 runs of other deployments",))


def test_conversations_of_the_same_name_stay_apart_in_a_csv(ws, tmp_path):
    suite = ws.case_set("chat", deployment="support-bot")
    for text in ("My order is late", "My order is broken"):
        suite.add([{"turns": [text, "A refund"]}])
    other = ws.case_set("copy", deployment="support-bot")
    other.add(suite.to_csv(tmp_path / "chat.csv"))
    assert other.frame().index.tolist() == suite.frame().index.tolist()


def test_set_has_either_conversations_or_single_cases(ws):
    suite = ws.case_set("chat", deployment="support-bot")
    suite.add([{"turns": ["Hello"]}])
    with pytest.raises(InputError, match="put them into two sets"):
        suite.add([{"message": "Hello"}])


def test_csv_with_the_api_key_is_refused(shared, tmp_path):
    key = shared.server.api_key
    suite = shared.case_set("keys", deployment="ticket-triage")
    suite.add([{"ticket": f"my key is {key}"}])
    with pytest.raises(vnb.VellumNBError, match="API key"):
        suite.to_csv(tmp_path / "keys.csv")


def tickets(first, last):
    return [{"ticket": f"ticket {number}"} for number in range(first, last)]


def sweep_of(ws, suite, **options):
    return ws.sweep("ticket-triage", suite, release_tags=["v1", "v2"], progress=False, **options)


def test_sweep_of_a_set_stores_its_name_and_version(ws, suite):
    suite.add(tickets(0, 1))
    suite.add(tickets(1, 2))
    sweep_of(ws, suite)
    sweep_of(ws, tickets(0, 1))
    columns = ["case_set", "case_set_version", "cases"]
    listed = ws.sweeps()[columns].astype("object")
    assert listed.where(listed.notna(), None).to_numpy().tolist() == [
        [None, None, 1],
        ["billing", 2, 2],
    ]


def test_ten_cases_added_to_two_hundred_cost_ten_calls_per_tag(ws, suite):
    suite.add(tickets(0, 200))
    sweep_of(ws, suite)
    suite.add(tickets(200, 210))
    plan = sweep_of(ws, suite, dry_run=True)
    assert [(tag.reused, tag.calls) for tag in plan.tags] == [(200, 10), (200, 10)]
    assert ws.history.count() == 400
    sweep = sweep_of(ws, suite)
    assert ws.history.count() == 420
    assert len(sweep.frame()) == 420


def test_plan_and_sweep_say_when_reused_runs_were_made(ws, suite):
    suite.add(tickets(0, 3))
    sweep_of(ws, suite)
    today = f"{ws.history.runs()[0].timestamp:%Y-%m-%d}"
    suite.add(tickets(3, 4))
    note = f"6 runs are reused, made {today}; existing='restart' (--restart) runs all cases again"
    assert note in sweep_of(ws, suite, dry_run=True).notes
    sweep = sweep_of(ws, suite)
    assert note in sweep.notes
    assert note in ws.open_sweep(sweep.id).notes


def test_runs_made_on_several_days_have_their_first_and_last_day(ws, suite):
    cases = tickets(0, 2)
    for day, case in zip(("2026-11-20", "2026-11-26"), cases, strict=True):
        run = ws.run("ticket-triage", case, release_tag="v1")
        moment = datetime.fromisoformat(f"{day}T12:00:00+00:00")
        earlier = {"id": day, "external_id": None, "execution_id": None, "timestamp": moment}
        ws.history.delete(run)
        ws.history.merge([run.model_copy(update=earlier)])
    suite.add(cases)
    plan = ws.sweep("ticket-triage", suite, release_tags=["v1"], dry_run=True)
    assert plan.notes[0].startswith("2 runs are reused, made 2026-11-20 to 2026-11-26; ")


def test_set_is_run_again_with_restart(ws, suite):
    suite.add(tickets(0, 2))
    first = sweep_of(ws, suite)
    assert sweep_of(ws, suite).id == first.id
    assert sweep_of(ws, suite, existing="restart").id != first.id
    assert ws.history.count() == 8


def test_runs_of_another_release_behind_a_tag_are_not_reused(ws, suite):
    suite.add(tickets(0, 2))
    ws.sweep("ticket-triage", suite, release_tags=["v1"], progress=False)
    plan = ws.sweep("ticket-triage", suite, release_tags=["v2"], dry_run=True)
    assert plan.calls == 2


def test_sweep_of_a_new_version_with_other_expectations_has_that_version(ws, suite):
    suite.add([CHARGED])
    first = sweep_of(ws, suite)
    suite.update([{**CHARGED, "expected.category": "account"}])
    again = sweep_of(ws, suite)
    assert again.id == first.id
    assert ws.sweeps()["case_set_version"].tolist() == [2]
    assert set(again.frame()["expected.category"]) == {"account"}


def test_set_of_a_sweep_is_merged_with_it(shared, ws, suite):
    suite.add(tickets(0, 1))
    sweep_of(ws, suite)
    with vnb.connect(shared.server, history=":memory:") as other:
        other.history.merge(ws.history)
        assert other.sweeps()[["case_set", "case_set_version"]].to_numpy().tolist() == [
            ["billing", 1]
        ]


def test_reuse_is_refused_for_a_set_of_conversations(ws):
    suite = ws.case_set("chat", deployment="support-bot")
    suite.add([{"turns": ["Hello"]}])
    with pytest.raises(InputError, match="the runs of conversations are not reused"):
        ws.sweep("support-bot", suite, release_tags=["v1"], existing="reuse")


def test_frame_of_a_comparison_is_added_without_answers(ws, suite):
    sweep = ws.sweep("ticket-triage", [CHARGED, CRASH], release_tags=["v1", "v2"], progress=False)
    changed = sweep.compare().frame("changed")
    suite.add(changed)
    columns = {"input.ticket", "expected.category", "label.channel"}
    assert set(suite.frame()) <= columns
    assert suite.frame().index.tolist() == changed["case_id"].tolist()


def test_worse_conversations_of_a_comparison_are_added_with_their_scripts(ws):
    script = {"turns": [TURNS[0], {"message": "What?", "expected.status": "asks for wish"}]}
    script["turns"] += [TURNS[1]]
    cases = [{**script, "expected.status": "refund"}, {"turns": ["Hello"]}]
    sweep = ws.sweep("support-bot", cases, release_tags=["v1", "v2"], progress=False)
    suite = ws.case_set("chat", deployment="support-bot")
    suite.add(sweep.compare().frame("worse"))
    given = ws.case_set("given", deployment="support-bot")
    given.add(cases[:1])
    assert suite.frame().equals(given.frame())
    assert suite.frame()["expected.status"].tolist()[1:] == ["asks for wish", "refund"]


USER = {"deployment": "angry-customer", "release_tag": "v1", "stop": "done"}
SIMULATED = [
    {"turns": ["My order A-1234 is late"], "goal": "refund", "expected.status": "refund"},
    {"turns": [], "goal": "replacement", "expected.status": "replacement"},
]
SIMULATED = [{**case, "user": USER, "max_turns": 4} for case in SIMULATED]


def test_simulated_users_are_stored_and_run_again(ws, tmp_path):
    options = {"release_tags": ["v1", "v2"], "progress": False}
    suite, copy = (ws.case_set(name, deployment="support-bot") for name in ("chat", "copy"))
    suite.add(SIMULATED)
    sweep = ws.sweep("support-bot", SIMULATED, **options)
    assert ws.sweep("support-bot", suite, **options).id == sweep.id
    copy.add(suite.to_csv(tmp_path / "chat.csv"))
    assert copy.frame().equals(suite.frame())
    assert suite.add(sweep.compare().frame("worse")).duplicates == 1
    assert len(suite) == 2


def test_conversations_of_two_simulated_users_are_two_sets(ws):
    suite = ws.case_set("chat", deployment="support-bot")
    suite.add(SIMULATED)
    with pytest.raises(InputError, match="with different simulated users"):
        suite.add([{**SIMULATED[0], "max_turns": 5}])


def test_selected_rows_of_the_history_table_are_added(ws, suite):
    run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v1")
    ws.run("ticket-triage", {"ticket": "The app crashes"}, release_tag="v1")
    view = ws.history.view()
    view.selected_ids = [run.id]
    suite.add(view.selected)
    assert suite.frame().index.tolist() == [run.case_id]
    view.close()
