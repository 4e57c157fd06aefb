"""Workflows of the conformance suite and helpers for the official client."""

import threading
import warnings
from collections.abc import Callable, Generator
from typing import Annotated, Any, Literal, TypedDict

import pytest
from pydantic import Field

from vellum_nb import local
from vellum_nb.local import ChatHistory, Reject

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its warnings on import are not ours
    import vellum as v
    from vellum.client import AsyncVellum, Vellum  # noqa: F401 - for the tests
    from vellum.client.core.api_error import ApiError
    from vellum.client.errors.bad_request_error import BadRequestError  # noqa: F401
    from vellum.client.errors.not_found_error import NotFoundError  # noqa: F401
    from vellum.environment import VellumEnvironment

SOURCE = {"src": "data:text/plain;base64,aGk=", "metadata": {"n": 1}}
UUID = "00000000-0000-4000-8000-00000000dead"


def echo(text: str) -> str:
    """Say what was said."""
    return text


def echo_json(value: Any = "default") -> dict[str, Any]:
    """Give back a value of any kind."""
    return {"value": {"held": value}}


def echo_number(number: float) -> float:
    """Give back a number."""
    return number


def echo_chat(chat: ChatHistory) -> dict[str, Any]:
    """Return the messages unchanged."""
    return {"chat": {"messages": chat}}


def echo_media(
    image: local.Image | None = None,
    audio: local.Audio | None = None,
    video: local.Video | None = None,
    document: local.Document | None = None,
) -> dict[str, Any]:
    """Return the media unchanged."""
    given = {"image": image, "audio": audio, "video": video, "document": document}
    return {"came": {name: value for name, value in given.items() if value is not None}}


class EveryType(TypedDict):
    """One output of each type that a signature can name."""

    text: str | None
    number: float | None
    data: dict[str, Any] | None
    chat: ChatHistory | None
    found: local.SearchResults | None
    image: local.Image | None
    audio: local.Audio | None
    video: local.Video | None
    document: local.Document | None


def every_type(*, empty: bool = False) -> EveryType:
    """Give back one output of each type, or null for each."""
    content = {"type": "STRING", "value": "hi"}
    document = {"label": "Doc", "external_id": "d-1", "metadata": {"page": 1}}
    values: dict[str, Any] = {
        "text": "häß → 🙂\u2028",
        "number": 1.5,
        "data": {"a": [1, None, True, "\u2029"]},
        "chat": [{"role": "ASSISTANT", "text": "hi", "content": content, "source": "s"}],
        "found": [{"text": "t", "score": 0.5, "keywords": ["k"], "document": document}],
        **dict.fromkeys(("image", "audio", "video", "document"), SOURCE),
    }
    return dict.fromkeys(values) if empty else values  # type: ignore[return-value]


def count(
    text: str, times: Annotated[int, Field(ge=1, le=3)] = 1, tier: Literal["free", "pro"] = "free"
) -> dict[str, Any]:
    """Count words."""
    return {"words": len(text.split()) * times, "tier": tier}


def refuse(text: str) -> str:
    """Refuse everything."""
    raise Reject(f"no {text} today")


def fail(text: str) -> str:
    """Fail."""
    raise KeyError(text)


def talk(text: str) -> Generator[str, None, dict[str, int]]:
    """Say it letter by letter, and count."""
    yield from text
    return {"letters": len(text)}


def duet(text: str) -> Generator[tuple[str, str], None, None]:
    """Say it twice at once, under two names."""
    for letter in text:
        yield "low", letter
        yield "high", letter.upper()


def stumble(text: str) -> Generator[str, None, None]:
    """Say half of it, then refuse."""
    yield text
    raise Reject("lost for words")


def converse(message: str, state: local.State) -> str:
    """Remember how often it was spoken to."""
    state["turns"] = state.get("turns", 0) + 1
    return f"{state['turns']}: {message}"


FUNCTIONS: tuple[Callable[..., Any], ...] = (
    echo, echo_json, echo_number, echo_chat, echo_media, every_type, count, refuse, fail, talk,
    duet, stumble, converse,
)  # fmt: skip


def deploy_all(server) -> None:
    """Deploy every workflow of the suite, and one with three releases and a name with a space."""
    for function in FUNCTIONS:
        server.deploy(function)
    for number in (1, 2, 3):
        named = {"name": "hällo wörld", "description": f"Release {number}"}
        server.deploy(release(number), release_tags=[f"v{number}"], **named)
    server.move_tag("hällo wörld", "production", "v2")


def release(number: int) -> Callable[[str], str]:
    def say(text: str) -> str:
        return f"v{number}: {text}"

    return say


class Gate:
    """A workflow that waits until the test opens it."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def workflow(self, text: str) -> Generator[str, None, None]:
        """Say it, wait, and say it again."""
        yield text
        self.entered.release()
        while not self.open.wait(0.01):
            yield ""
        yield text


def place(server):
    return VellumEnvironment(default=server.url, predict=server.url, documents=server.url)


def official(server, **options):
    return Vellum(**{"api_key": server.api_key, "environment": place(server), **options})


def close(client):
    client._client_wrapper.httpx_client.httpx_client.close()


def run(client, name, *inputs, **options):
    return client.execute_workflow(inputs=list(inputs), workflow_deployment_name=name, **options)


def outputs(answer):
    assert answer.data.state == "FULFILLED", answer.data
    return {output.name: output.value for output in answer.data.outputs}


def text(value, name="text"):
    return v.WorkflowRequestStringInputRequest(name=name, value=value)


def number(value, name="number"):
    return v.WorkflowRequestNumberInputRequest(name=name, value=value)


def json_input(value, name="value"):
    return v.WorkflowRequestJsonInputRequest(name=name, value=value)


def chat(*messages, name="chat"):
    return v.WorkflowRequestChatHistoryInputRequest(name=name, value=list(messages))


def until(client, execution_id, *states):
    """Poll the status until it is one of `states`."""
    pause = threading.Event()
    for _ in range(2000):
        answer = client.workflows.workflow_execution_status(execution_id)
        if answer.status in states:
            return answer
        pause.wait(0.01)
    raise AssertionError(f"still {answer.status}")


def missing(call, *args, **options):
    """Return the HTTP status of a call that is refused."""
    with pytest.raises(ApiError) as caught:
        call(*args, **options)
    assert set(caught.value.body) == {"detail"}
    return caught.value.status_code
