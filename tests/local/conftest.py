"""One real server with small workflows, and ways to ask it."""

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Generator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest
import requests
from pydantic import Field

from vellum_nb.client import Client
from vellum_nb.local import (
    Audio,
    ChatHistory,
    Document,
    Image,
    LocalServer,
    SearchResults,
    Video,
)

sys.path.insert(0, str(Path(__file__).parent))  # for the kits
from execution_kit import inputs


class Colour(Enum):
    """An enum that comes as text."""

    RED = "red"
    GREEN = "green"


class Counted(TypedDict):
    """Two declared outputs."""

    text: str
    words: int


def echo(text: str) -> str:
    """Say what was said."""
    return text


def count(text: str, times: Annotated[int, Field(ge=1, le=3)] = 1) -> Counted:
    """Count the words of a text."""
    return {"text": " ".join([text] * times), "words": len(text.split()) * times}


def typed(
    number: float = 0,
    flag: bool = False,  # noqa: FBT001, FBT002 - an input of the workflow
    tier: Literal["free", "pro"] = "free",
    colour: Colour = Colour.RED,
    data: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Show how each input arrived."""
    given = {"number": number, "flag": flag, "tier": tier, "colour": colour, "data": data}
    return {name: f"{type(value).__name__} {value!r}" for name, value in given.items()}


def media(
    image: Image | None = None,
    audio: Audio | None = None,
    video: Video | None = None,
    document: Document | None = None,
) -> dict[str, Any]:
    """Give back what came."""
    given = {"image": image, "audio": audio, "video": video, "document": document}
    return {name: value for name, value in given.items() if value is not None}


class EveryType(TypedDict):
    """One output of each type that a signature can name."""

    text: str
    number: float
    data: dict[str, Any]
    chat: ChatHistory
    found: SearchResults
    image: Image
    audio: Audio
    video: Video
    document: Document


def every_type(chat: ChatHistory) -> EveryType:
    """Give back one output of each type."""
    source = {"src": "data:text/plain;base64,aGk="}
    return {
        "text": "häß → 🙂\u2028",
        "number": 1.5,
        "data": {"a": [1, None, True]},
        "chat": chat,
        "found": [{"text": "t", "score": 0.5, "document": {"label": "Doc"}}],
        "image": source,
        "audio": source,
        "video": source,
        "document": source,
    }


def streamed(text: str) -> Generator[str, None, dict[str, int]]:
    """Say it letter by letter, and count."""
    yield from text
    return {"letters": len(text)}


async def streamed_later(text: str) -> AsyncGenerator[tuple[str, str], None]:
    """Say it twice, letter by letter, under two names."""
    for letter in text:
        yield "first", letter
        await asyncio.sleep(0)
        yield "second", letter.upper()


def fail(text: str) -> str:
    """Fail."""
    raise KeyError(text)


FUNCTIONS = (
    echo, count, typed, media, every_type, streamed, streamed_later, fail
)  # fmt: skip


class Api:
    """Asks a server with bare HTTP."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["X-API-KEY"] = server.api_key

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.server.url + path, timeout=120, **options)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.session.request(method, self.server.url + path, timeout=120, **options)

    def send(self, **body: Any) -> requests.Response:
        return self.post(json=body)

    def post(self, how: str = "", **options: Any) -> requests.Response:
        url = f"{self.server.url}/v1/execute-workflow{how}"
        return self.session.post(url, timeout=120, **options)

    def ask(self, name: str, text: str = "a", how: str = "", **more: Any) -> requests.Response:
        """Execute on one text; `how` is "-stream" or "-async"."""
        body = {"workflow_deployment_name": name, "inputs": inputs(text=("STRING", text))}
        return self.post(how, json=body | more)

    def run(self, name: str, **values: tuple[str, Any]) -> dict[str, Any]:
        """Execute; each value is a (type, value) pair. Return `data`."""
        answer = self.send(workflow_deployment_name=name, inputs=inputs(**values))
        assert answer.status_code == 200, answer.text
        data: dict[str, Any] = answer.json()["data"]
        return data


@pytest.fixture(scope="session")
def server():
    with LocalServer() as server:
        for function in FUNCTIONS:
            server.deploy(function)
        yield server


@pytest.fixture(scope="session")
def api(server):
    api = Api(server)
    yield api
    api.session.close()


@pytest.fixture
def fresh():
    """Start a server of the test's own."""
    with LocalServer() as server:
        yield server


@pytest.fixture
def asking():
    """Give a way to ask servers that the test starts."""
    opened: list[Api] = []

    def ask(server: LocalServer) -> Api:
        opened.append(Api(server))
        return opened[-1]

    yield ask
    for api in opened:
        api.session.close()


@pytest.fixture(scope="session")
def client(server):
    with Client(base_url=server.url, api_key=server.api_key) as client:
        yield client


class Gate:
    """A workflow that waits until the test lets it go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def workflow(self, text: str) -> str:
        self.entered.release()
        self.open.wait(20)
        return text


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()
