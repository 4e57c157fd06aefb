"""What outputs should have been, and how good they were."""

import uuid
from datetime import datetime

import pytest
from execution_kit import ACTUALS, NO_ID, boom, by, events, read, run, turn

from vellum_nb.local import LocalServer


@pytest.fixture(scope="module")
def served():
    with LocalServer() as server:
        server.deploy(turn)
        server.deploy(boom)
        yield server


@pytest.fixture
def api(served, asking):
    return asking(served)


def test_an_actual_is_kept_with_the_output_it_is_of(api):
    external_id = str(uuid.uuid4())
    id_ = run(api, "turn", "hi", external_id=external_id)
    output = next(each for each in read(api, "turn", id_)["outputs"] if each["name"] == "text")
    actual = {"output_type": "STRING", "output_key": "text"}
    better = {"quality": 0.5, "desired_output_value": "HELLO", "metadata": {"by": "me"}}
    first = api.call("POST", ACTUALS, json={"execution_id": id_, "actuals": [actual | better]})
    assert (first.status_code, first.json()) == (200, {})
    assert read(api, "turn", id_)["latest_actual"] == {
        "output": {"id": output["id"], "name": "text", "type": "STRING", "value": "HELLO"},
        "timestamp": read(api, "turn", id_)["latest_actual"]["timestamp"],
        "quality": 0.5,
        "metadata": {"by": "me"},
    }
    by_id = {"output_type": "JSON", "output_id": output["id"], "quality": 1, "timestamp": 4e9}
    api.call("POST", ACTUALS, json={"external_id": external_id, "actuals": [by_id]})
    latest = read(api, "turn", id_)["latest_actual"]
    assert (latest["quality"], latest["output"]["name"]) == (1, "text")
    assert latest["output"]["value"] is None
    assert datetime.fromisoformat(latest["timestamp"]).timestamp() == 4e9
    (item,) = events(api, "turn", filters=by("execution_id", "==", id_))["results"]
    assert item["latest_actual"] == latest


OF_A_CHAT = {"output_key": "text", "output_type": "CHAT_HISTORY", "desired_output_value": [1]}


@pytest.mark.parametrize(
    ("actual", "reason"),
    [
        ({}, "actuals[0]: give output_key or output_id"),
        ({"output_key": "nope"}, "unknown output 'nope'; available: text, turns"),
        ({"output_id": NO_ID}, f"no output has the id {NO_ID!r}; available: text, turns"),
        ({"output_key": "text", "quality": 1.5}, "less than or equal to 1"),
        ({"output_key": "text", "quality": "good"}, "actuals[0].quality: Input should be a valid"),
        ({"output_key": "text", "desired_output_value": 5}, "text is expected"),
        (OF_A_CHAT, "a list of messages"),
        ({"output_key": "text", "output_type": "NUMBER"}, "actuals[0].output_type: Input should"),
        ({"output_key": "text", "timestamp": 1e300}, "is not a time; seconds since 1970"),
    ],
)
def test_an_actual_that_makes_no_sense_is_refused_and_nothing_is_kept(api, actual, reason):
    id_ = run(api, "turn", "hi")
    good = {"output_type": "STRING", "output_key": "text", "quality": 1}
    actuals = [{"output_type": "STRING", **actual}, good]
    answer = api.call("POST", ACTUALS, json={"execution_id": id_, "actuals": actuals})
    assert answer.status_code == 400
    assert reason in answer.json()["detail"]
    assert read(api, "turn", id_)["latest_actual"] is None
