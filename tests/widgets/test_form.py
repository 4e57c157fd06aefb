"""The form without a browser: what is sent, what is shown, what is kept."""

from __future__ import annotations

from typing import Any

import pytest
from form_kit import (
    OLDER,
    PATIENCE,
    SPEC,
    TICKET,
    VIP,
    click,
    parts,
    shown,
    tick,
)

from vellum_nb.errors import APIConnectionError, InputError
from vellum_nb.models import (
    WorkflowDeploymentRelease,
)
from vellum_nb.widgets.spec import FormSpec, TagChoice


def test_the_newest_release_alone_is_ticked(make):
    form, _ = make()
    assert form.release_tags == ["v2"]
    assert repr(form) == "RunForm('ticket-triage', run on: v2)"


def test_a_click_runs_the_values_on_the_chosen_tags(make):
    form, recorder = make()
    form.release_tags = ["LATEST"]
    form.value = {"ticket": "charged twice", "sla_hours": 8}
    click(form)
    (run,) = form.wait(PATIENCE)
    assert run.state == "FULFILLED"
    assert [r.release_tag for r in recorder.requests] == ["v2"]
    assert recorder.requests[0].inputs == {"ticket": "charged twice", "sla_hours": 8, "vip": False}
    assert "from v2" in shown(form)


def test_what_was_taken_away_under_one_release_does_not_come_back_under_another(make):
    form, _ = make()
    form.value = {"ticket": "hi", "sla_hours": 8}
    form.release_tags = ["v1"]
    assert form.value == {"ticket": "hi", "sla_hours": "8"}
    form.value = {"ticket": "hi"}
    form.release_tags = ["v2"]
    assert form.value == {"ticket": "hi", "vip": False}


def test_inputs_that_a_release_does_not_know_are_not_sent_to_it_and_the_form_says_so(make):
    form, recorder = make()
    form.release_tags = ["v1", "v2"]
    form.value = {"ticket": "hi", "sla_hours": 8, "vip": True, "mood": "cross"}
    assert form.errors == {"sla_hours": "v1: the number 8 is given; text is expected"}
    form.value = {"ticket": "hi", "vip": True, "mood": "cross"}
    assert form.errors == {"sla_hours": "v1: A value is required."}
    assert "has no inputs <code>vip</code>, <code>context</code>" in shown(form)
    form.release_tags = ["v2"]
    form.release_tags = ["v1"]
    form.value = {"ticket": "hi", "sla_hours": "8", "mood": "cross"}
    form.submit()
    form.wait(PATIENCE)
    assert recorder.requests[0].not_sent == ()


def test_not_sent_names_what_each_release_lacks(make):
    spec = FormSpec(**{**SPEC.__dict__, "variables": (TICKET, VIP)})
    older = WorkflowDeploymentRelease.model_validate(
        {"id": "r1", "workflow_version": {"input_variables": [{"key": "ticket", "type": "STRING"}]}}
    )
    form, recorder = make(spec=spec, read=lambda _: older)
    form.release_tags = ["v1", "v2"]
    form.value = {"ticket": "hi", "vip": True}
    assert "<b><code>v1</code></b> has no input <code>vip</code>: it is not sent" in shown(form)
    form.submit()
    form.wait(PATIENCE)
    assert {r.release_tag: r.not_sent for r in recorder.requests} == {"v1": ("vip",), "v2": ()}
    assert all(r.inputs == {"ticket": "hi", "vip": True} for r in recorder.requests)


def test_one_older_tag_shows_its_own_inputs_names_the_differences_and_keeps_the_text(make):
    form, _ = make()
    form.value = {"ticket": "hi", "sla_hours": 8, "context": {"a": 1}}
    form.release_tags = ["v1"]
    text = shown(form)
    assert "<b><code>v1</code></b> differs from LATEST" in text
    assert "it also has <code>mood</code>" in text
    assert "it has no <code>vip</code>, <code>context</code>" in text
    assert "<code>sla_hours</code> is STRING (LATEST: NUMBER)" in text
    assert form.value == {"ticket": "hi", "sla_hours": "8"}
    form.release_tags = ["v2"]
    assert form.value == {"ticket": "hi", "sla_hours": 8, "vip": False, "context": {"a": 1}}


def test_a_release_that_cannot_be_read_is_told_and_the_form_stays_usable(make):
    def unreadable(tag: str) -> WorkflowDeploymentRelease:
        msg = "the server <refused>"
        raise APIConnectionError(msg)

    form, recorder = make(read=unreadable)
    tick(form, "v1")
    assert "v1 could not be read" in shown(form)
    assert "the server &lt;refused&gt;" in shown(form)
    form.value = {"ticket": "hi"}
    form.submit()
    assert len(form.wait(PATIENCE)) == 2
    assert recorder.requests[0].not_sent == ()


def test_an_unknown_input_is_refused_with_the_known_ones_and_changes_nothing(make):
    form, _ = make()
    form.value = {"ticket": "hi"}
    with pytest.raises(InputError, match="nope.*ticket, sla_hours, vip, context"):
        form.value = {"nope": 1}
    assert form.value == {"ticket": "hi", "vip": False}


def test_an_unknown_release_tag_is_refused_with_the_known_ones(make):
    form, _ = make()
    with pytest.raises(InputError, match="v9.*v1, v2, production, LATEST"):
        form.release_tags = ["v9"]
    assert form.release_tags == ["v2"]


def test_values_may_be_observed(make):
    form, _ = make()
    seen: list[Any] = []
    form.observe(lambda change: seen.append(change["new"]), "value")
    form.value = {"ticket": "hi"}
    assert seen[-1] == {"ticket": "hi", "vip": False}
    form.observe(lambda change: seen.append([run.state for run in change["new"]]), "runs")
    form.submit()
    form.wait(PATIENCE)
    assert seen[-1] == ["FULFILLED"]


def test_an_empty_required_field_sends_nothing_and_is_named_only_after_a_try(make):
    form, recorder = make()
    assert "1 field to fill" in shown(form)
    assert "A value is required." not in shown(form)
    click(form)
    assert "A value is required." in shown(form)
    assert recorder.requests == []
    assert not form.busy
    assert form.errors == {"ticket": "A value is required."}
    form.value = {"ticket": "hi"}
    assert not parts(form, "vnb-fix")[0].children
    assert "A value is required." not in shown(form)


def test_bad_json_sends_nothing_and_the_reason_stands_beside_run(make):
    form, recorder = make()
    form.value = {"ticket": "hi"}
    control = next(w for w in parts(form, "vnb-control") if w.description == "context")
    control.value = '{"a": 1,}'
    assert "1 field to fix" in shown(form)
    click(form)
    assert recorder.requests == []
    assert control.value == '{"a": 1,}'
    control.value = '{"a": 1}'
    click(form)
    assert form.wait(PATIENCE)[0].inputs["context"] == {"a": 1}


def test_options_go_with_every_run_and_an_external_id_stays_unique(make):
    spec = FormSpec(**{**SPEC.__dict__, "variables": OLDER["v1"]})
    form, recorder = make(spec=spec)
    form.release_tags = ["v1", "v2"]
    form.value = {"ticket": "hi", "sla_hours": "8"}
    typed = {"external id": "case-7", "metadata": '{"by": "ann"}', "previous execution": "e-1"}
    for control in parts(form, "vnb-control"):
        control.value = typed.get(control.description, control.value)
    form.submit()
    form.wait(PATIENCE)
    assert sorted(str(r.external_id) for r in recorder.requests) == ["case-7-v1", "case-7-v2"]
    assert {r.previous_execution_id for r in recorder.requests} == {"e-1"}
    assert all(r.metadata == {"by": "ann"} for r in recorder.requests)


def test_metadata_that_is_no_object_sends_nothing(make):
    form, recorder = make()
    form.value = {"ticket": "hi"}
    next(w for w in parts(form, "vnb-control") if w.description == "metadata").value = "[1]"
    click(form)
    assert recorder.requests == []
    assert "Metadata is a JSON object" in shown(form)


def test_the_static_form_says_what_would_be_run_and_never_changes_before_a_run(make):
    form, other = make()[0], make()[0]
    html = form._repr_mimebundle_()["text/html"]
    assert html == other._repr_mimebundle_()["text/html"]
    assert form._repr_mimebundle_()["text/plain"] == repr(form)
    assert "Ticket &lt;triage&gt;" in html
    assert "Sorts &amp; answers" in html
    assert ">ticket *</td>" in html
    assert ">STRING</td>" in html
    form.value = {"ticket": "<script>alert(1)</script>"}
    form.submit()
    form.wait(PATIENCE)
    html = form._repr_mimebundle_()["text/html"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "from v2" in html


def test_names_and_descriptions_of_a_deployment_stay_text(make):
    form, _ = make()
    assert "Ticket &lt;triage&gt;" in shown(form)
    assert "Ticket <triage>" not in shown(form)


def test_the_header_counts_releases_and_runs(make):
    form, _ = make()
    assert "2 releases · history: 128 runs" in shown(form)


def test_many_releases_are_folded_and_the_newest_are_shown(make):
    tags = tuple(TagChoice(f"r{n}", (f"t{n}",)) for n in range(30))
    form, _ = make(spec=FormSpec(**{**SPEC.__dict__, "tags": tags, "latest_release_id": "r29"}))
    names = [box.description for box in parts(form, "vnb-check") if box.description != "Markdown"]
    assert names[0] == "t18"
    assert names[-1] == "t29"
    form.release_tags = ["t3"]
    assert len([b for b in parts(form, "vnb-check") if b.description.startswith("t")]) == 30
