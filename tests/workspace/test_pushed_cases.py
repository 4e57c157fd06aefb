"""The cases of a pushed project, swept with its mocks in the place of paid nodes."""

import json

import pytest
import requests
from execution_kit import FLOW_HEAD, archive

import vellum_nb as vnb

FLOW = f"""{FLOW_HEAD}
class Paid(BaseNode):
    text = Inputs.text

    class Outputs(BaseNode.Outputs):
        loud: str

    def run(self) -> Outputs:
        with open({{log!r}}, "a") as log:
            log.write(self.text)
        return self.Outputs(loud=self.text.upper())

class Flow(BaseWorkflow[Inputs, BaseState]):
    graph = Paid

    class Outputs(BaseWorkflow.Outputs):
        loud = Paid.Outputs.loud
"""


def mock(text):
    from vellum.workflows.utils.uuids import uuid4_from_hash

    return {
        "type": "NODE_EXECUTION",
        "node_id": str(uuid4_from_hash("my_flow.workflow.Paid")),
        "when_condition": {"type": "CONSTANT_VALUE", "value": {"type": "JSON", "value": True}},
        "then_outputs": {"loud": text},
    }


@pytest.fixture
def paid(tmp_path):
    """Return a function that tells for which texts the paid node has run."""
    log = tmp_path / "paid"
    log.touch()
    return log


@pytest.fixture
def ws(tmp_path, paid):
    with vnb.LocalServer() as server, vnb.connect(server, history=tmp_path / "runs.db") as ws:
        content = archive({"workflow.py": FLOW.format(log=str(paid))})
        dataset = [
            {"label": "a", "inputs": {"text": "a"}, "mocks": [mock("MOCK A")]},
            {"label": "b", "inputs": {"text": "b"}, "mocks": [mock("MOCK B")]},
            {"label": "c", "inputs": {"text": "c"}},
        ]
        answer = requests.post(
            f"{server.url}/v1/workflows/push",
            headers={"X-API-KEY": server.api_key},
            files={"artifact": ("my_flow.tar.gz", content)},
            data={
                "deployment_config": json.dumps({"name": "flow", "release_tags": ["v1"]}),
                "dataset": json.dumps(dataset),
            },
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
        yield ws


def test_cases_of_a_project_are_a_frame_and_mocks_that_are_none_are_refused(ws):
    cases = ws.cases("flow")
    assert list(cases) == ["label", "input.text", "mocks"]
    assert cases["input.text"].tolist() == ["a", "b", "c"]
    with pytest.raises(vnb.NotFoundError):
        ws.cases("flow", "v9")
    assert "dataset.json" not in ws.code("flow")
    with pytest.raises(vnb.InputError, match="not a list"):
        ws.sweep("flow", [{"text": "a", "mocks": "x"}])


def test_a_sweep_with_mocks_does_not_run_the_paid_node(ws, paid):
    sweep = ws.sweep("flow", ws.cases("flow"), release_tags=["v1"], progress=False)
    frame = sweep.frame().set_index("label.label")
    assert frame["output.loud"].to_dict() == {"a": "MOCK A", "b": "MOCK B", "c": "C"}
    assert paid.read_text() == "c"
    cases = ws.cases("flow").drop(columns="mocks")
    real = ws.sweep("flow", cases, release_tags=["v1"], existing="reuse", progress=False)
    frame = real.frame().set_index("label.label")
    assert frame["output.loud"].to_dict() == {"a": "A", "b": "B", "c": "C"}
    assert sorted(paid.read_text()) == ["a", "b", "c"]  # c, which has no mocks, is reused


def test_case_with_mocks_is_run_again_with_them(ws, paid):
    cases = ws.cases("flow").head(1)
    grid = ws.sweep("flow", cases, release_tags=["v1"], progress=False).compare().view()
    grid.replay(grid.comparison.cases[0])
    assert grid.wait(60)
    outputs = [run.outputs for run in grid.comparison.cases[0].tries["v1"]]
    assert outputs == [{"loud": "MOCK A"}] * 2
    assert paid.read_text() == ""
    grid.close()


def test_a_sweep_with_mocks_goes_on_with_them(ws, paid, tmp_path):
    first = ws.sweep(
        "flow", ws.cases("flow").head(2), release_tags=["v1"], limits={"max_calls": 1},
        progress=False,
    )  # fmt: skip
    assert len(first.frame()) == 1
    ws.open_sweep(first.id, limits={"max_calls": None}).resume()
    first = ws.open_sweep(first.id)
    assert sorted(first.frame()["output.loud"]) == ["MOCK A", "MOCK B"]
    assert paid.read_text() == ""
