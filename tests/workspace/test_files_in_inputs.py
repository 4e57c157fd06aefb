"""Files in inputs: text is never read as a path; `files=` reads names in one folder only."""

import base64
import json
from pathlib import Path

import pandas as pd
import pytest
from command_kit import run as vellum_nb
from runs_kit import later_run

from vellum_nb.errors import InputError
from vellum_nb.local import ChatHistory, Document
from vellum_nb.workspace.forms import read_inputs
from vellum_nb.workspace.lookup import Lookup

SECRET = "a private key"
REFUSED = "is text, which is never read as a path; give pathlib.Path"


def content(src: str) -> str:
    return base64.b64decode(src.partition(",")[2]).decode()


@pytest.fixture
def seen(server):
    """Deploy workflows that read documents; return the sources that they got."""
    sources: list[str] = []

    def read(file: Document, note: str = "") -> str:
        sources.append(file["src"])
        return content(file["src"])

    def read_chat(chat: ChatHistory) -> str:
        sources.append(chat[0]["content"]["value"]["src"])
        return content(sources[-1])

    server.deploy(read, release_tags=["v1"])
    server.deploy(read, release_tags=["v2"])
    server.deploy(read_chat, name="chat")
    return sources


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text(SECRET, encoding="utf-8")
    return str(path)


def written(cases, path):
    """Write cases as a file of the format that its name says."""
    frame = pd.DataFrame(cases)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=path.suffix == ".jsonl")
    return path


def sweep_of_a_file(suffix):
    def sweep(ws, path):
        folder = Path(path).parent
        ws.sweep("read", written([{"file": path}], folder / f"cases{suffix}"))

    return sweep


def imported(ws, path):
    """Return a run that `sync` or `merge` brings from a hostile server or colleague."""
    run = later_run("v1", {"file": path}, {"output": "a"}, deployment="read")
    ws.history.merge([run])
    return ws.history.get(run.id)


def judge(ws, path):
    ws.run("shout", {"text": path}, release_tag="v1")
    metric = ws.judge("read", inputs={"file": "output.loud"})
    compared = ws.compare("shout", metrics=metric, progress=False)
    raise InputError(compared.errors()["error"][0])


def command_line(ws, path):
    server = {"VELLUM_API_KEY": ws.server.api_key, "VELLUM_API_URL": ws.server.url}
    history = Path(path).with_name("h.db")
    done = vellum_nb("run", "read", "--input", f"file={path}", "--history", history, **server)
    raise InputError(done.stderr)


WAYS = {
    "run": lambda ws, path: ws.run("read", {"file": path}),
    "stream": lambda ws, path: list(ws.stream("read", {"file": path})),
    "submit": lambda ws, path: ws.submit("read", {"file": path}),
    "list": lambda ws, path: ws.sweep("read", [{"file": path}]),
    "frame": lambda ws, path: ws.sweep("read", pd.DataFrame([{"file": path}])),
    **{suffix: sweep_of_a_file(suffix) for suffix in (".csv", ".jsonl", ".json", ".parquet")},
    "stored run": lambda ws, path: ws.sweep("read", [imported(ws, path)]),
    "stored run with a folder": lambda ws, path: ws.sweep(
        "read", [imported(ws, Path(path).name)], files=Path(path).parent
    ),
    "history": lambda ws, path: (
        imported(ws, path),
        ws.sweep("read", ws.history.frame(deployment="read")),
    ),
    "replay": lambda ws, path: (
        imported(ws, path),
        ws.compare("read", release_tags=["v1"]).replay(release_tag="v2"),
    ),
    "bisect": lambda ws, path: ws.bisect("read", imported(ws, path)),
    "judge": judge,
    "chat": lambda ws, path: ws.run(
        "chat", {"chat": [{"role": "USER", "content": {"type": "DOCUMENT", "value": path}}]}
    ),
    "command line": command_line,
    "form": lambda ws, path: setattr(ws.form("read"), "value", {"file": path}),
}


@pytest.mark.parametrize("way", WAYS)
def test_text_is_never_read_as_a_path(ws, seen, secret, way):
    with pytest.raises(InputError) as caught:
        WAYS[way](ws, secret)
    assert REFUSED in " ".join(str(caught.value).split())
    assert seen == []


def test_text_in_mocks_and_metadata_is_never_read_as_a_path(ws, seen, secret):
    outputs = {"file": {"type": "DOCUMENT", "value": secret}}
    case = {"file": b"%PDF-", "mocks": [{"node_id": "n", "then_outputs": outputs}]}
    sweep = ws.sweep("read", [case], progress=False)
    (run,) = sweep.runs()
    assert SECRET not in json.dumps(run.metadata)
    assert secret in json.dumps(run.metadata)


def test_a_path_in_code_is_read(ws, seen, secret):
    assert ws.run("read", {"file": Path(secret)}).outputs == {"output": SECRET}
    assert [content(src) for src in seen] == [SECRET]


def test_a_path_in_a_frame_of_cases_is_read(ws, seen, secret):
    cases = pd.DataFrame([{"file": Path(secret)}])
    sweep = ws.sweep("read", cases, release_tags=["v1"], progress=False)
    assert sweep.runs()[0].outputs == {"output": SECRET}


def test_a_file_that_the_command_line_names_is_read(ws, seen, secret):
    lookup = Lookup(ws.client)
    inputs = read_inputs(lookup, "read", [f"file=@{secret}"])
    assert ws.run("read", inputs).outputs == {"output": SECRET}
    with pytest.raises(InputError, match="; file=@FILE reads a file"):
        read_inputs(lookup, "read", [f"file={secret}"])


@pytest.fixture
def folder(tmp_path):
    """Return a folder of attachments, with links and a file beside it."""
    folder = tmp_path / "attachments"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("first", encoding="utf-8")
    (folder / "deep" / "b.txt").write_text("second", encoding="utf-8")
    (folder / "same.txt").symlink_to("a.txt")
    (tmp_path / "secret.txt").write_text(SECRET, encoding="utf-8")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "out").symlink_to(tmp_path)
    (folder / "loop").symlink_to("loop")
    return folder


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_names_in_a_file_of_cases_are_read_in_the_folder(ws, seen, folder, tmp_path, suffix):
    names = ["a.txt", "deep/b.txt", "deep/../a.txt", "same.txt"]
    cases = written([{"file": name, "note": name} for name in names], tmp_path / f"cases{suffix}")
    sweep = ws.sweep("read", cases, release_tags=["v1"], files=folder, progress=False)
    outputs = {run.inputs["note"]: run.outputs["output"] for run in sweep.runs()}
    assert outputs == dict(zip(names, ["first", "second", "first", "first"], strict=True))
    again = ws.sweep("read", cases, release_tags=["v1"], files=str(folder), progress=False)
    assert (again.id, len(seen)) == (sweep.id, 4)


def test_other_values_of_a_document_stay_as_they_are_with_a_folder(ws, seen, folder):
    data = "data:text/plain;base64," + base64.b64encode(b"inline").decode()
    cases = [{"file": data}, {"file": {"src": data}, "note": "a"}, {"file": b"bytes"}]
    sweep = ws.sweep("read", cases, release_tags=["v1"], files=folder, progress=False)
    assert [run.state for run in sweep.runs()] == ["FULFILLED"] * 3


def test_a_name_in_a_chat_is_read_in_the_folder(ws, seen, folder):
    turn = {"role": "USER", "content": {"type": "DOCUMENT", "value": "a.txt"}}
    sweep = ws.sweep("chat", [{"chat": [turn]}], files=folder, progress=False)
    assert sweep.runs()[0].outputs == {"output": "first"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("{folder}/a.txt", "is not in the folder"),
        ("../secret.txt", "is not in the folder"),
        ("link.txt", "is not in the folder"),
        ("out/secret.txt", "is not in the folder"),
        ("none.txt", "is no file in the folder"),
        ("deep", "is no file in the folder"),
        ("loop", "is no file in the folder"),
        ("~/a.txt", "is no file in the folder"),
        ("a\0.txt", "is no file in the folder"),
        ("x" * 5000, "is no file in the folder"),
    ],
)
def test_a_name_that_is_not_of_the_folder_is_refused_with_its_case_and_column(
    ws, seen, folder, name, why
):
    name = name.format(folder=folder)
    cases = [{"file": "a.txt"}, {"file": name}]
    with pytest.raises(InputError) as caught:
        ws.sweep("read", cases, release_tags=["v1"], files=folder)
    (problem,) = caught.value.problems
    assert (problem.row, problem.variable) == (2, "file")
    assert repr(name)[:50] in problem.message
    assert why in problem.message
    assert "; " in problem.message  # a remedy follows
    assert SECRET not in str(caught.value)
    assert seen == []


@pytest.mark.parametrize("files", ["nowhere", "", "a\0b", "~nobody-of-this-name/x", 5, b"x"])
def test_the_folder_must_exist(ws, seen, files):
    with pytest.raises(InputError, match="files must be a folder that exists"):
        ws.sweep("read", [{"file": "a.txt"}], files=files)


def test_the_command_line_reads_names_in_the_folder_that_is_given(ws, seen, folder, tmp_path):
    cases = written([{"file": "a.txt"}], tmp_path / "cases.csv")
    server = {"VELLUM_API_KEY": ws.server.api_key, "VELLUM_API_URL": ws.server.url}
    command = ("sweep", "read", cases, "--history", tmp_path / "h.db", "--release-tag", "v1")
    done = vellum_nb(*command, **server)
    assert (done.returncode, seen) == (1, [])
    assert "files='folder'" in done.stderr
    done = vellum_nb(*command, "--files", folder, **server)
    assert (done.returncode, [content(src) for src in seen]) == (0, ["first"])


def test_a_default_of_a_server_is_never_read_as_a_path(ws, server, secret):
    def read(file: Document = secret) -> str:  # type: ignore[assignment]
        return content(file["src"])

    server.deploy(read)
    form = ws.form("read")
    assert form.value == {}
    form.close()
