"""Workflows SDK projects: folders as they are pulled, and the sample that is one."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sdk_kit import outputs

import vellum_nb as vnb
from vellum_nb.client import Client
from vellum_nb.comparison import compare_runs
from vellum_nb.errors import VellumNBError
from vellum_nb.local import LocalServer, samples
from vellum_nb.local.samples import declared, project_files
from vellum_nb.models.trace import nodes_of_stream


@pytest.fixture(scope="module")
def server():
    with LocalServer() as server:
        yield server


@pytest.fixture(scope="module")
def project(server):
    for tag in ("v1", "v2"):
        server.deploy(project_files(tag), name="digest", release_tags=[tag])


def comments(*said: str) -> list[dict[str, object]]:
    return [{"name": "comments", "type": "JSON", "value": list(said)}]


def digest(client, tag, *said):
    reply = client.execute_workflow(
        comments(*said), workflow_deployment_name="digest", release_tag=tag
    )
    return outputs(reply)


@pytest.mark.parametrize("tag", ["v1", "v2"])
def test_releases_of_a_project_are_loaded_at_once_and_are_what_the_sample_declares(
    project, client, tag
):
    assert digest(client, tag, "not good")["moods"] == [{"v1": "good", "v2": "bad"}[tag]]
    version = client.retrieve_workflow_deployment_release("digest", tag).workflow_version
    variables = version.input_variables, version.output_variables
    assert variables == (declared(tag).input_variables, declared(tag).output_variables)
    ids = {v.key: v.id for v in (*variables[0], *variables[1])}
    first = {
        v.key: v.id for v in (*declared("v1").input_variables, *declared("v1").output_variables)
    }
    assert ids.items() >= first.items()


def test_the_branch_of_a_project_answers_an_empty_list_and_its_trace_shows_branch_and_map(
    project, client
):
    assert digest(client, "v2") == {"digest": "Nobody said anything about the app."}
    with client.execute_workflow_stream(
        comments("good", "bad"), workflow_deployment_name="digest", event_types=["NODE"]
    ) as events:
        nodes = nodes_of_stream(list(events))
    kinds = {node.name: node.kind for node in nodes}
    assert kinds == {
        "CheckComments": "CONDITIONAL",
        "RateComments": "MAP",
        "RateComment": "",
        "WriteDigest": "TEMPLATING",
        "FinalOutput": "TERMINAL",
    }
    outer = next(node for node in nodes if node.name == "RateComments")
    inner = [node for node in nodes if node.name == "RateComment"]
    assert [node.parent_span_id for node in inner] == [outer.span_id] * 2


def test_events_and_stack_traces_do_not_show_where_a_project_was_loaded(
    project, server, client, tmp_path
):
    with client.execute_stream("digest", inputs={"comments": ["good"]}) as events:
        text = json.dumps([event.model_dump(mode="json") for event in events])
    assert "vellum_nb_source" not in text
    assert '"name": "WriteDigest", "module": ["workflow"]' in text
    fails = (
        "class Odd(Exception): ...\nclass Nothing(BaseNode):\n    def run(self): raise Odd('no')"
    )
    source = FLOW.replace("class Nothing(BaseNode):\n    pass", fails)
    server.deploy(write(tmp_path / "odd", workflow=source))
    with client.execute_stream("odd") as events:
        *_, last = events
    assert last.body["stacktrace"].endswith("\nworkflow.Odd: no")


@pytest.mark.slow
def test_a_server_with_samples_imports_no_sdk_before_the_first_run():
    program = (
        "import sys, vellum_nb as vnb\n"
        "with vnb.LocalServer(samples=True) as server:\n"
        "    assert 'feedback-digest' in server.names()\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'vellum']\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_a_project_comes_back_after_a_restart(tmp_path):
    for _ in range(2):
        with (
            LocalServer(data=tmp_path) as server,
            Client(base_url=server.url, api_key=server.api_key) as client,
        ):
            if not server.names():
                server.deploy(project_files("v1"), name="digest", release_tags=["v1"])
            assert digest(client, "v1", "good")["moods"] == ["good"]


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


FLOW = """
from vellum.workflows import BaseWorkflow
from vellum.workflows.nodes import BaseNode

class Nothing(BaseNode):
    pass

class Flow(BaseWorkflow):
    graph = Nothing
"""


def test_the_display_folder_of_a_project_is_left_alone(server, client, tmp_path):
    folder = write(tmp_path / "shown", workflow=FLOW, display__workflow="raise SystemExit")
    server.deploy(folder)
    assert outputs(client.execute_workflow([], workflow_deployment_name="shown")) == {}
    assert not [name for name in sys.modules if name.startswith("vellum_ee.workflows.display.base")]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nowhere_at_all\n" + FLOW, "No module named 'nowhere_at_all'"),
        ("from vellum.workflows import BaseWorkflow\nx = (", "SyntaxError"),
        ("from vellum.workflows import BaseWorkflow\n", "defines no function or Workflow class"),
    ],
)
def test_a_project_that_cannot_be_loaded_is_refused_with_the_reason(
    server, tmp_path, source, message
):
    with pytest.raises(VellumNBError) as refused:
        server.deploy(write(tmp_path / "broken", workflow=source))
    assert message in str(refused.value)


@pytest.mark.slow
def test_traces_of_a_stream_and_of_spans_are_alike():
    tags = ["v1", "v2"]
    with LocalServer(samples=True) as server, vnb.connect(server, history=":memory:") as ws:
        for name in samples.names():
            runs, cases = [], pd.read_csv(samples.cases(name)).head(3)
            for source in ("streamed", "read"):
                options = {"expand_meta": source == "streamed", "existing": "restart"}
                sweep = ws.sweep(name, cases, release_tags=tags, progress=False, **options)
                for run in sweep.runs():
                    ws.trace(run)
                    nodes = ws.history.get(run.id).nodes
                    fields = {"nodes": nodes, "release_tag": f"{run.release_tag}, {source}"}
                    runs.append(run.model_copy(update=fields))
            for tag in tags:
                both = [f"{tag}, streamed", f"{tag}, read"]
                cmp = compare_runs(runs, deployment=name, release_tags=both)
                assert set(cmp.frame()[f"first_changed_node@{tag}, read"]) == {""}
