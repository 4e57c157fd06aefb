"""What the runs of a sweep cost: read from their streams, kept in their rows, and a limit.

The nodes are prompt nodes of the Workflows SDK; a server of the test's own answers them.
"""

import sys
from pathlib import Path

import pytest

import vellum_nb as vnb
from vellum_nb.sweep.progress import facts

sys.path.append(str(Path(__file__).parents[1] / "local" / "prompts"))

from openai_kit import GREET, KEY, model_server, says
from runs_kit import progress_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own
CASES = [{"text": str(number)} for number in range(12)]
OF_ONE = 0.07 + 0.06  # 7 tokens in, 3 out


@pytest.fixture
def ws(tmp_path):
    place = tmp_path / "greet"
    place.mkdir()
    (place / "workflow.py").write_text(GREET)
    with model_server() as model, vnb.LocalServer() as server:
        model.answer = says("Hel", "lo")
        prices = {"tiny": (0.01e6, 0.02e6)}
        server.models(base_url=model.url, api_key=KEY, model="tiny", prices=prices)
        server.deploy(place, name="greet", release_tags=["v1"])
        server.deploy(shout, name="shout")
        with vnb.connect(server, history=tmp_path / "runs.db") as workspace:
            yield workspace


def shout(text: str) -> str:
    return text.upper()


def swept(ws, **options):
    return ws.sweep("greet", CASES, release_tags=["v1"], concurrency=2, progress=False, **options)


def executions(ws):
    return ws.client.list_workflow_deployment_event_executions("greet").count


def test_cost_tokens_and_nodes_are_in_the_rows_when_they_are_asked_for(ws):
    sweep = swept(ws, expand_meta=True)
    assert progress_of(sweep).cost_usd == pytest.approx(12 * OF_ONE)
    frame = sweep.frame()
    assert frame["cost_usd"].tolist() == pytest.approx([OF_ONE] * 12)
    columns = ["tokens_in", "tokens_out", "model", "output.greeting"]
    assert {*frame[columns].itertuples(index=False, name=None)} == {(7, 3, "tiny", "Hello")}
    assert {len(run.nodes) for run in sweep.runs()} == {1}
    assert swept(ws, existing="restart", dry_run=True).cost_usd == pytest.approx(12 * OF_ONE)


@pytest.mark.slow
def test_a_limit_of_cost_that_cannot_hold_is_noted_and_one_ends_the_calls_of_a_judge(ws):
    now = progress_of(
        ws.sweep("shout", [{"text": "a"}], limits={"max_cost_usd": 1}, progress=False)
    )
    assert (now.state, now.done) == ("done", 1)
    assert (
        facts(now) == now.cost_problem == "no run reports its cost, so max_cost_usd cannot stop it"
    )
    runs = ws.sweep("shout", [{"text": str(n)} for n in range(40)], progress=False)
    judge = vnb.metrics.judge("greet", inputs={"text": "output.output"})
    limited = runs.compare(metrics=judge, max_cost_usd=OF_ONE, progress=False)
    assert limited.errors()["message"].str.contains("its sweep stopped").any()
    assert 0 < executions(ws) < 40
    runs.compare(metrics=judge, max_cost_usd=1000 * OF_ONE, progress=False)
    assert executions(ws) == 40
