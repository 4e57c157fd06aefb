"""POST /v1/submit-workflow-execution-actuals, by the official client."""

import uuid

import pytest
from conformance_kit import UUID, ApiError, outputs, run, text, v


@pytest.fixture
def counted(client):
    """Execute `count`, and say under which external id."""
    external_id = f"rated-{uuid.uuid4()}"
    run(client, "count", text("a b"), external_id=external_id)
    return external_id


def test_actuals_by_execution_id_are_the_latest_of_the_execution(client):
    execution_id = run(client, "count", text("a b")).execution_id
    actual = v.WorkflowExecutionActualJsonRequest(
        output_key="words", quality=0.5, metadata={"by": "me"}
    )
    text_ = v.WorkflowExecutionActualStringRequest(
        output_key="tier", quality=1, desired_output_value="pro", timestamp=1705311000.5
    )
    submit = client.submit_workflow_execution_actuals
    assert submit(execution_id=execution_id, actuals=[actual]) is None
    found = client.workflow_deployments.workflow_deployment_event_execution
    latest = found(execution_id, "count").latest_actual
    assert (latest.output.name, latest.quality, latest.metadata) == ("words", 0.5, {"by": "me"})
    submit(execution_id=execution_id, actuals=[text_])
    assert found(execution_id, "count").latest_actual is not None


def test_actuals_by_external_id_and_output_id(client):
    answer = run(client, "echo", text("x"), external_id="rated")
    (output,) = answer.data.outputs
    actual = v.WorkflowExecutionActualStringRequest(output_id=output.id, desired_output_value="y")
    client.submit_workflow_execution_actuals(external_id="rated", actuals=[actual])
    execution = client.workflow_deployments.workflow_deployment_event_execution(
        answer.execution_id, "echo"
    )
    assert (execution.latest_actual.output.name, execution.latest_actual.output.value) == (
        "output",
        "y",
    )


def test_actual_of_a_chat_is_accepted(client):
    message = v.ChatMessageRequest(role="USER", text="hi")
    answer = run(client, "every-type")
    assert outputs(answer)
    actual = v.WorkflowExecutionActualChatHistoryRequest(
        output_key="chat", desired_output_value=[message]
    )
    client.submit_workflow_execution_actuals(execution_id=answer.execution_id, actuals=[actual])


def actual(**fields):
    return {"output_type": "STRING", "output_key": "tier", **fields}


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ({"execution_id": UUID}, 404),
        ({"external_id": "never"}, 404),
        ({}, 400),
        ({"external_id": ""}, 400),
        ({"execution_id": "no-uuid"}, 404),
    ],
)
def test_actuals_of_an_unknown_execution_are_refused(client, address, status):
    with pytest.raises(ApiError) as caught:
        client.submit_workflow_execution_actuals(**address, actuals=[actual()])
    assert caught.value.status_code == status
    assert set(caught.value.body) == {"detail"}


@pytest.mark.parametrize(
    "wrong",
    [
        actual(quality=1.5),
        actual(quality=-0.1),
        actual(output_key="riddle"),
        {"output_type": "STRING"},
        actual(output_type="RIDDLE"),
        actual(desired_output_value=5),
    ],
)
def test_invalid_actual_refuses_all(client, counted, wrong):
    with pytest.raises(ApiError) as caught:
        client.submit_workflow_execution_actuals(
            external_id=counted, actuals=[actual(quality=1), wrong]
        )
    assert caught.value.status_code == 400
    page = client.workflow_deployments.list_workflow_deployment_event_executions("count")
    (execution,) = [e for e in page.results if e.parent_context.external_id == counted]
    assert execution.latest_actual is None


def test_empty_list_of_actuals_is_accepted(client, counted):
    client.submit_workflow_execution_actuals(external_id=counted, actuals=[])
