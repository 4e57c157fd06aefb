"""Workflows SDK projects in processes of their own: their nodes reach the local server."""

import pytest
from execution_kit import FLOW_HEAD
from openai_kit import GREET, says

from vellum_nb.local import Isolation

pytestmark = pytest.mark.slow
FAIL = f"""{FLOW_HEAD}
class Fail(BaseNode):
    def run(self):
        import os

        os._exit(5)

class Flow(BaseWorkflow[Inputs, BaseState]):
    graph = Fail
"""


@pytest.fixture
def run(server, asking, tmp_path):
    """Deploy a project for processes, and return its answer with what is kept of it."""

    def run(name, text, **options):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "display").mkdir()
        (folder / "display" / "__init__.py").write_text("raise OSError('this is for the editor')")
        (folder / "__init__.py").write_text("from .display import *\n")
        (folder / "workflow.py").write_text(text)
        server.deploy(folder, isolation=Isolation("process", **options))
        inputs = [{"name": "text", "type": "STRING", "value": "Ada"}]
        api = asking(server)
        reply = api.send(workflow_deployment_name=name, inputs=inputs).json()
        detail = f"/v1/workflow-executions/{reply['execution_id']}/detail"
        return reply["data"], api.get(detail).json()

    return run


def test_a_prompt_node_in_a_process_is_answered_and_its_usage_kept(run, model):
    model.answer = says("Hel", "lo")
    data, detail = run("greet", GREET)
    assert data["state"] == "FULFILLED", data
    assert [(o["name"], o["value"]) for o in data["outputs"]] == [("greeting", "Hello")]
    assert model.asked[0].body["messages"] == [{"role": "user", "content": "Greet Ada"}]
    (used,) = detail["usage_results"][0]["usage"]
    assert used["ml_model_usage"] == {"input_token_count": 7, "output_token_count": 3}


def test_a_crash_of_a_node_ends_every_node_and_the_run(run):
    data, detail = run("crash", FAIL, memory_limit=8 * 1024**3)
    assert data["error"]["code"] == "NODE_EXECUTION"
    assert "exit status 5" in data["error"]["message"]
    names = [event["name"] for span in detail["spans"] for event in span["events"]]
    assert "workflow.execution.rejected" in names
    # The process may die before it has sent that the node began.
    assert names.count("node.execution.initiated") == names.count("node.execution.rejected")
