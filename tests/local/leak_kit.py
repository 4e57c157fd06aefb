"""Code that looks for a key wherever it can look, for tests of every isolation."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

KEY = "sk-canary-{:032x}"
"""A key; `SEARCH` finds every key of this form, but not itself."""

SEARCH = '''
import os, pathlib, re, sys, tempfile

KEY = re.compile(rb"sk-[c]anary-[0-9a-f]{32}")

def keys_in(content):
    return {key.decode() for key in KEY.findall(content)}

def keys_in_file(path):
    try:
        return keys_in(pathlib.Path(path).read_bytes())
    except OSError:
        return set()

def parent(pid):
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0

def keys_in_memory(pid):
    found = set()
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in open(f"/proc/{pid}/maps"):
            span, mode = line.split()[:2]
            if mode.startswith("rw") and "[vvar" not in line:
                start, end = (int(number, 16) for number in span.split("-"))
                try:
                    memory.seek(start)
                    found |= keys_in(memory.read(end - start))
                except (OSError, OverflowError, ValueError):
                    pass
    return found

def search(kernel):
    """Return where keys are: in this process and its ancestors up to the kernel, and in files."""
    places = {"os.environ": keys_in(repr(os.environ).encode())}
    pid = os.getpid()
    while pid and pid != kernel:
        for name in ("environ", "cmdline"):
            places[f"{name} of {pid}"] = keys_in_file(f"/proc/{pid}/{name}")
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            descriptors = ()
        for number in descriptors:
            link = f"/proc/{pid}/fd/{number}"
            if os.path.isfile(link):
                places[f"descriptor {number} of {pid}"] = keys_in_file(link)
        places[f"memory of {pid}"] = keys_in_memory(pid)
        pid = parent(pid)
    for folder, _, names in os.walk(tempfile.gettempdir()):
        for name in names:
            if os.path.isfile(os.path.join(folder, name)):
                places[f"file {name}"] = keys_in_file(os.path.join(folder, name))
    return {"looked": sorted(places), "keys": {k: sorted(v) for k, v in places.items() if v}}
'''

FUNCTION = f"{SEARCH}\ndef look(kernel: int) -> dict:\n    return search(kernel)\n"

PROJECT = f"""
from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import BaseNode
from vellum.workflows.state import BaseState
{SEARCH}
class Inputs(BaseInputs):
    kernel: float

class Look(BaseNode):
    kernel = Inputs.kernel

    class Outputs(BaseNode.Outputs):
        output: dict

    def run(self) -> Outputs:
        return self.Outputs(output=search(int(self.kernel)))

class Flow(BaseWorkflow[Inputs, BaseState]):
    graph = Look

    class Outputs(BaseWorkflow.Outputs):
        output = Look.Outputs.output
"""

DEPLOY = """
import json, os, sys
from vellum_nb import connect
from vellum_nb.local import Isolation, LocalServer

source, entry, options = sys.argv[1], sys.argv[2] or None, json.loads(sys.argv[3])
with LocalServer() as server:
    server.models(base_url="http://127.0.0.1:9/v1", api_key=os.environ["OPENAI_API_KEY"])
    files = {"workflow.py": source.encode()}
    server.deploy(files, name="look", entry=entry, isolation=Isolation(**options))
    run = connect(server, history="runs.db").run("look", {"kernel": os.getpid()})
assert run.state == "FULFILLED", run.error
print(json.dumps(run.outputs))
"""
"""Program that deploys source with options, runs it, and prints what it outputs."""


def keys_seen(
    tmp_path: Path, source: str, entry: str = "", **options: Any
) -> tuple[dict[str, str], dict[str, Any]]:
    """Deploy and run source that looks for keys, in a program whose environment has keys.

    Return those keys by name, and what the source returns.
    """
    names = ("VELLUM_API_KEY", "OPENAI_API_KEY", "PGPASSWORD", "A_KEY")
    keys = {name: KEY.format(number) for number, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:  # its path is short enough for a socket
        done = subprocess.run(
            [sys.executable, "-c", DEPLOY, source, entry, json.dumps(options)],
            env={**os.environ, **keys, "TMPDIR": folder},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    outputs = json.loads(done.stdout)
    return keys, outputs.get("output", outputs)
