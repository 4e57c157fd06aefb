"""The sample deployments, run through the real local server, against their labelled cases."""

import csv
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

import vellum_nb as vnb
from vellum_nb.client import Client
from vellum_nb.local import LocalServer
from vellum_nb.local.samples import cases, names
from vellum_nb.local.samples.text import words
from vellum_nb.models import VellumVariable
from vellum_nb.models.inputs import field_kind, to_wire

RELEASES = {
    "ticket-triage": ("v1", "v2", "v3"),
    "docs-qa": ("v1", "v2", "v3"),
    "summarise": ("v1", "v2"),
    "feedback-digest": ("v1", "v2"),
    "support-bot": ("v1", "v2"),
}
EVERY_RELEASE = [(name, tag) for name, tags in RELEASES.items() for tag in tags]
OF_ONE_TEXT = [pair for pair in EVERY_RELEASE if pair[0] != "feedback-digest"]
OF_SINGLE_CASES = [name for name in RELEASES if name != "support-bot"]


class Samples:
    """Runs cases on the samples of one server and keeps the answers of whole files."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.answers = cache(self._answers)
        self.variables = cache(self._variables)

    def run(self, name: str, tag: str, values: Mapping[str, Any]) -> SimpleNamespace:
        wired = to_wire(values, self.variables(name, tag))
        reply = self.client.execute_workflow(
            wired, workflow_deployment_name=name, release_tag=tag
        ).data
        outputs = {output.name: output.value for output in reply.outputs}
        return SimpleNamespace(state=reply.state, error=reply.error, outputs=outputs)

    def _variables(self, name: str, tag: str) -> tuple[VellumVariable, ...]:
        release = self.client.retrieve_workflow_deployment_release(name, tag)
        return release.workflow_version.input_variables

    def _answers(self, name: str, tag: str) -> list[SimpleNamespace]:
        variables = self.variables(name, tag)
        return [self.run(name, tag, values_of(row, variables)) for row in rows_of(name)]

    def scores(self, name: str, tag: str) -> list[float]:
        pairs = zip(rows_of(name), self.answers(name, tag), strict=True)
        return [score(row, answer.outputs) for row, answer in pairs]


def rows_of(name: str) -> list[dict[str, str]]:
    with cases(name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def values_of(row: Mapping[str, str], variables: Sequence[VellumVariable]) -> dict[str, Any]:
    read = {"number": float, "bool": json.loads, "json": json.loads, "chat": json.loads}
    return {
        v.key: read.get(field_kind(v), str)(row[v.key]) for v in variables if row.get(v.key, "")
    }


def score(row: Mapping[str, str], outputs: Mapping[str, Any]) -> float:
    """Return the share of `expected.…` columns that the outputs meet."""
    if "expected.category" in row:
        wanted = ("category", "priority")
        return sum(outputs[name] == row[f"expected.{name}"] for name in wanted) / len(wanted)
    if "expected.moods" in row:
        return float(outputs["moods"] == json.loads(row["expected.moods"]))
    name = "answer" if "expected.answer" in row else "summary"
    return float(row[f"expected.{name}"].casefold() in outputs[name].casefold())


@pytest.fixture(scope="module")
def samples():
    with (
        LocalServer(samples=True) as server,
        Client(base_url=server.url, api_key=server.api_key) as client,
    ):
        yield Samples(client)


@pytest.mark.parametrize("name", OF_SINGLE_CASES)
@pytest.mark.slow
def test_every_case_runs_and_no_later_release_is_better_everywhere(samples, name):
    for tag in RELEASES[name]:
        answers = samples.answers(name, tag)
        assert {answer.state for answer in answers} == {"FULFILLED"}
        assert len({tuple(answer.outputs) for answer in answers}) == 1
    scores = [samples.scores(name, tag) for tag in RELEASES[name]]
    assert sum(scores[1]) >= sum(scores[0]) * 1.4
    for old, new in pairwise(scores):
        pairs = list(zip(old, new, strict=True))
        assert sum(after > before for before, after in pairs) >= 3
        assert sum(after < before for before, after in pairs) >= 3


def required_input(samples, name, tag):
    return next(v.key for v in samples.variables(name, tag) if v.is_required)


@pytest.mark.parametrize(("name", "tag"), OF_ONE_TEXT)
def test_empty_text_is_rejected(samples, name, tag):
    empty = samples.run(name, tag, {required_input(samples, name, tag): "  \n "})
    assert (empty.state, empty.error.code) == ("REJECTED", "USER_DEFINED_ERROR")
    assert "is empty" in empty.error.message


@pytest.mark.parametrize(("name", "tag"), OF_ONE_TEXT)
def test_odd_text_is_answered(samples, name, tag):
    key = required_input(samples, name, tag)
    odd = (
        "word " * 20_000,
        "7" * 50_000,
        "日本語のチケット。助けて",
        "🙂" * 500 + " ok \u202e\x00",
    )
    assert {samples.run(name, tag, {key: text}).state for text in odd} == {"FULFILLED"}


def test_v3_of_ticket_triage_redacts_card_numbers(samples):
    ticket = "Refund to card 4111 1111 1111 1111, mail me at ada@example.org"
    outputs = samples.run("ticket-triage", "v3", {"ticket": ticket}).outputs
    assert "4111" not in json.dumps(outputs)
    assert "ada@" not in json.dumps(outputs)
    assert "redacted" in outputs["tags"]


def test_v3_of_ticket_triage_uses_the_context(samples):
    context = {"invoices": ["INV-100", "INV-20931"], "plan": "pro"}
    values = {"ticket": "You charged my card twice for the same month.", "context": context}
    assert "INV-20931" in samples.run("ticket-triage", "v3", values).outputs["reply"]


def test_v3_of_docs_qa_understands_a_follow_up(samples):
    values = {
        "question": "And what about comments?",
        "chat_history": [
            ("USER", "Can I export a board as CSV?"),
            ("ASSISTANT", "Export a board as CSV, Excel or PDF from its menu."),
        ],
    }
    second, third = (samples.run("docs-qa", tag, values).outputs for tag in ("v2", "v3"))
    assert second["sources"][0]["document"]["label"] == "Roles and permissions"
    assert third["sources"][0]["document"]["label"] == "Import and export"
    assert "*Source: Import and export*" in third["answer"]


def test_cases_of_an_unknown_sample_name_the_samples():
    with pytest.raises(KeyError, match="ticket-triage, docs-qa, summarise"):
        cases("triage")


def test_second_release_of_the_chatbot_forgets_what_was_said_two_turns_before():
    with vnb.connect("local", history=":memory:") as ws:
        options = {"release_tags": ["v1", "v2"], "progress": False}
        cmp = ws.sweep("support-bot", cases("support-bot"), **options).compare()
    assert cmp.decide()["v2"].verdict == "should not replace"
    frame = cmp.frame()
    worse = frame[frame["verdict@v2"] == "worse"]
    assert worse["first_failed_turn@v2"].min() == 3
    assert (frame["verdict@v2"] == "better").sum() == 3


def test_five_samples_are_deployed_beside_a_judge_and_a_user(samples):
    listed = [deployment.name for deployment in samples.client.iter_workflow_deployments()]
    assert sorted(listed) == sorted([*names(), "pair-grader", "angry-customer"])
    assert sorted(names()) == sorted(RELEASES)


WITHOUT_SDK = """
import sys
sys.modules["vellum"] = None
import vellum_nb as vnb
with vnb.connect("local", history=":memory:") as ws:
    run = ws.run("feedback-digest", {"comments": ["Great!"]}, release_tag="v1")
    print(run.state, run.error.message)
"""


@pytest.mark.slow
def test_run_of_a_sample_without_its_extra_names_the_extra():
    command = [sys.executable, "-c", WITHOUT_SDK]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    assert done.stdout.startswith("REJECTED")
    assert 'pip install "vellum-nb[sdk]"' in done.stdout


@pytest.mark.parametrize(
    ("a", "b", "winner"),
    [
        ("Thanks.", "We are sorry. We refund the charge within 3 days.", "second"),
        ("We are sorry. We refund the charge within 3 days.", "Thanks.", "first"),
        ("Thanks.", "Hello.", "tie"),
    ],
)
def test_the_sample_judge_prefers_the_concrete_reply(samples, a, b, winner):
    values = {"question": "Why was there a second charge?", "a": a, "b": b}
    assert samples.run("pair-grader", "v1", values).outputs["winner"] == winner


@pytest.mark.parametrize("name", OF_SINGLE_CASES)
def test_release_tags_of_a_sample(samples, name):
    releases = RELEASES[name]
    tags = {tag.name: tag.release_id for tag in samples.client.iter_workflow_release_tags(name)}
    assert tags["production"] == tags["v2"] != tags["v1"]
    assert tags["LATEST"] == tags[releases[-1]]


def test_inputs_of_the_samples_are_described(samples):
    variables = [v for pair in EVERY_RELEASE for v in samples.variables(*pair)]
    assert all(variable.description for variable in variables)
    assert {v.key for v in variables if v.is_required} == {
        *("ticket", "question", "text", "comments", "message"),
    }


def test_samples_have_inputs_of_every_kind(samples):
    kinds = {field_kind(v) for pair in EVERY_RELEASE for v in samples.variables(*pair)}
    assert kinds == {"text", "number", "bool", "enum", "json", "chat"}


TEA = {"title": "Tea", "text": "Green tea needs 80 degrees. Black tea needs boiling water."}
CAKE = {"title": "Cake", "text": "Bake the cake for fifty minutes."}


def test_docs_qa_reads_documents_of_your_own(samples):
    values = {"question": "How long is the cake baked?", "documents": [TEA, CAKE]}
    outputs = samples.run("docs-qa", "v2", values).outputs
    assert outputs["answer"] == "Bake the cake for fifty minutes."
    assert outputs["sources"][0]["document"]["label"] == "Cake"


def test_docs_qa_rejects_a_document_without_text(samples):
    values = {"question": "How long?", "documents": [TEA, {"title": "Cake"}]}
    assert "document 2 has no" in samples.run("docs-qa", "v2", values).error.message


def test_a_summary_has_the_requested_number_of_sentences(samples):
    values = {"text": rows_of("summarise")[0]["text"], "sentences": 2, "style": "bullets"}
    outputs = samples.run("summarise", "v2", values).outputs
    assert outputs["summary"].count("\n- ") == 1
    assert len(outputs["bullets"]) == 2
    assert outputs["word_count"] == len(words(outputs["summary"]))


@pytest.mark.parametrize("name", names())
def test_a_case_file_has_forty_different_labelled_rows_that_were_not_learned(name):
    rows = rows_of(name)
    assert len({tuple(row.values()) for row in rows}) == len(rows) >= 40
    assert all(row["label"] for row in rows)
    learned = cases("ticket-triage").with_name("triage-training.csv").read_text("utf-8")
    assert not any(row.get("ticket", "not a ticket") in learned for row in rows)


def test_a_sample_release_is_the_same_release_in_every_process():
    def ids(server):
        with server, Client(base_url=server.url, api_key=server.api_key) as client:
            return [r.id for r in client.iter_workflow_deployment_releases("ticket-triage")]

    assert ids(LocalServer(samples=True)) == ids(LocalServer(samples=True))
