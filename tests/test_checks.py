"""Checks of argument types of the client."""

import pytest

from vellum_nb import Client
from vellum_nb.errors import VellumNBError


@pytest.fixture
def client():
    with Client(api_key="k", base_url="http://127.0.0.1:9") as made:
        yield made


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.retrieve_workflow_release_tag("w", b"v1"),
        lambda client: client.workflow_execution_status(None),
        lambda client: client.list_workflow_deployments(limit=1.5),
        lambda client: client.list_workflow_release_tags("w", offset=[1]),
        lambda client: client.execute_workflow(5),
        lambda client: client.execute_workflow("text"),
        lambda client: client.execute_workflow([5]),
        lambda client: client.execute_workflow([], metadata={"a": object()}),
        lambda client: client.execute_workflow([], external_id=object()),
        lambda client: client.execute_workflow_stream([], event_types="WORKFLOW"),
        lambda client: client.submit_workflow_execution_actuals({"quality": 1}),
        lambda client: client.submit_workflow_execution_actuals(5),
        lambda client: client.submit_workflow_execution_actuals([5]),
        lambda client: client.deploy_workflow("w", release_tags="v1"),
        lambda client: client.upload_file("text"),
        lambda client: client.upload_file(b"", filename=5),
        lambda client: client.pull("w", strict=2.5),
        lambda _: Client(api_key=b"hunter2"),
        lambda _: Client(api_key="k", base_url=5),
        lambda _: Client(api_key="k", api_version="2025\n07"),
        lambda _: Client(api_key="k", timeout=(1, 2, 3)),
        lambda _: Client(api_key="k", timeout=float("inf")),
    ],
)
def test_client_refuses_invalid_arguments_before_sending(client, call):
    with pytest.raises(VellumNBError) as caught:
        call(client)
    assert not hasattr(caught.value, "sent")
    assert "hunter2" not in str(caught.value)
