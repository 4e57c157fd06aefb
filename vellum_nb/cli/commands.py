"""The commands: each calls one public function and prints the result."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import vellum_nb
from vellum_nb.cli.printing import data, print_safely, say, side_by_side_text
from vellum_nb.errors import APIError, InputError, VellumNBError

if TYPE_CHECKING:
    from vellum_nb.history import History
    from vellum_nb.models import Run
    from vellum_nb.sweep.case_sets import CaseSet
    from vellum_nb.workspace import Workspace

MODELS_KEY = "VELLUM_NB_MODELS_KEY"  # of any vendor
_CONFLICTS = 2  # exit status
_LISTED = 20  # names in an error
_PACKAGE = Path(__file__).parents[1]
_EXIT_STATUSES = {"healthy": 0, "worse": 1, "cannot tell yet": 3}
_GRACE_S = 5.0  # for executions under way when the server is stopped


def serve(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    if args.model is not None and args.models_url is None:
        msg = f"--model {args.model} needs the endpoint: add --models-url URL"
        raise VellumNBError(msg)
    server = vellum_nb.LocalServer(
        port=args.port, data=args.data, samples=not args.no_samples, grace=_GRACE_S
    )
    if args.models_url is not None:
        key = os.environ.get(MODELS_KEY) or None
        server.models(base_url=args.models_url, api_key=key, model=args.model)

    def ready() -> None:
        print(f"VELLUM_API_URL={server.url}")
        print(f"VELLUM_API_KEY={server.api_key}", flush=True)
        say("Serving until Ctrl-C. The two lines above are for the client's environment.")

    server.run_forever(ready)
    return 0


def deployments(args: argparse.Namespace) -> int:
    """Print the deployments with their release tags; control characters are escaped."""
    from vellum_nb.escaping import printable

    with opened(args, ":memory:") as workspace:
        frame = workspace.deployments()
        frame["release_tags"] = ""
        with suppress(APIError):  # the key cannot read them
            pages = [workspace.client.iter_workflow_release_tags(id_) for id_ in frame["id"]]
            frame["release_tags"] = [", ".join(tag.name for tag in tags) for tags in pages]
    if args.json:
        print(frame.to_json(orient="records", date_format="iso", force_ascii=True), file=data())
        return 0
    for row in frame.itertuples():
        texts = (row.name, row.inputs, row.outputs, row.release_tags)
        name, inputs, outputs, tags = (printable(str(text).replace("\n", " ")) for text in texts)
        print(f"{name}\n  in    {inputs}\n  out   {outputs}\n  tags  {tags}")
    return 0


def run(args: argparse.Namespace) -> int:
    """Run on each release tag; return 0 if every run was fulfilled, 2 if not."""
    from vellum_nb.workspace.forms import read_inputs
    from vellum_nb.workspace.lookup import Lookup

    tags = dict.fromkeys(args.release_tag or ["LATEST"])
    runs: list[Run] = []
    with opened(args, args.history) as workspace:
        read = partial(read_inputs, Lookup(workspace.client), args.name, args.input)
        cases = {tag: read(release_tag=tag) for tag in tags}
        execute = partial(_streamed, workspace) if args.stream else workspace.run
        try:
            for tag, inputs in cases.items():
                runs.append(execute(args.name, inputs, release_tag=tag))
        finally:  # print the answers before an error
            if not args.stream:
                _show(runs, as_json=args.json)
    return 0 if all(run.state == "FULFILLED" for run in runs) else 2


def _streamed(
    workspace: Workspace, name: str, inputs: Mapping[str, object], *, release_tag: str
) -> Run:
    """Run and print streamed text, then the other outputs."""
    from vellum_nb.escaping import printable

    print(release_tag, end="")
    with workspace.stream(name, inputs, release_tag=release_tag) as stream:
        growing = None
        for event in stream:
            if event.delta:
                head = "" if event.output_name == growing else f"\n{event.output_name}: "
                growing = event.output_name
                print(printable(head + event.delta), end="", flush=True)
        texts = dict(stream.texts)
    run = stream.run
    values = {name: value for name, value in run.outputs.items() if name not in texts}
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    if run.error is not None:
        lines.append(f"error: {run.error.code}: {run.error.message}")
    print("", *(printable(line) for line in lines), run.state, sep="\n", flush=True)
    return run


def _show(runs: Sequence[Run], *, as_json: bool) -> None:
    if as_json:
        for run in runs:
            print(run.model_dump_json(exclude_none=True), file=data())
    elif runs:
        print(side_by_side_text(runs, width=shutil.get_terminal_size((100, 24)).columns))


def existing(history: str | None) -> Any:
    """Return the location of the history; raise an error if the file does not exist."""
    from vellum_nb.history import parse_location

    history = parse_location(history)  # hides a password from tracebacks
    if isinstance(history, str) and not Path(history).expanduser().exists():
        msg = f"There is no history {history}"
        raise VellumNBError(msg)
    return history


def export(args: argparse.Namespace) -> int:
    """Write runs to a file or to stdout."""
    names = None
    if args.columns is not None:
        names = [name for row in csv.reader(args.columns) for name in row]
    options: dict[str, Any] = {"columns": names, "progress": None if sys.stderr.isatty() else False}
    kinds = ("deployment", "release_tag", "state", "since", "sweep_id")
    filters = {name: getattr(args, name) for name in kinds}
    with vellum_nb.History(existing(args.history)) as history:
        if args.path is not None:
            _written(history, Path(args.path), {**options, **filters})
            say(f"Wrote {history.count(**filters)} runs to {args.path}")
        elif args.json:
            history.to_jsonl(data(), **options, **filters)
        else:
            history.to_csv(data(), **options, **filters)
    return 0


def sync(args: argparse.Namespace) -> int:
    """Import executions that were made elsewhere."""
    with opened(args, args.history) as workspace:
        report = workspace.sync(args.name, since=args.since, until=args.until, limit=args.limit)
    print(report)
    return 0


def check(args: argparse.Namespace) -> int:
    """Print the damage of a file; return 0 if it is intact."""
    report = vellum_nb.check_history(args.file)
    print(report, file=data())
    return 0 if report.ok else 1


def merge(args: argparse.Namespace) -> int:
    """Merge another history; return 2 if runs differ."""
    with vellum_nb.History(args.history) as history:
        report = history.merge(args.other)
    print(report)
    return 2 if report.conflicts else 0


def vacuum(args: argparse.Namespace) -> int:
    """Shrink the file; removing deleted runs needs a confirmation."""
    with vellum_nb.History(existing(args.history)) as history:
        waiting = int(history.deletions()["runs"].sum())
        if waiting and not args.yes:
            msg = f"{waiting:,} deleted runs could not be restored after that; add --yes to confirm"
            raise VellumNBError(msg)
        report = history.vacuum()
    say(repr(report)[1:-1])
    return 0


def _written(history: History, path: Path, options: dict[str, Any]) -> None:
    writers = {".csv": history.to_csv, ".parquet": history.to_parquet, ".jsonl": history.to_jsonl}
    if path.suffix not in writers:
        msg = f"Unknown format: {path}: end its name in {', '.join(writers)}"
        raise VellumNBError(msg)
    writers[path.suffix](path, **options)


def opened(args: argparse.Namespace, history: str | None) -> Workspace:
    """Return the workspace that the arguments name."""
    with redirect_stdout(sys.stderr):  # stdout is for data
        return vellum_nb.connect(args.target, history=history)


def lab(args: argparse.Namespace) -> int:
    """Replace this process by JupyterLab."""
    if importlib.util.find_spec("jupyterlab") is None:
        msg = 'JupyterLab is not installed: pip install "vellum-nb[lab]"'
        raise VellumNBError(msg)
    folder = _notebooks(args.folder)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.resolve()}"]
    command += ["--LabApp.extension_manager=readonly", "--ServerApp.answer_yes=True"]
    command += [f"--LabApp.default_url=/lab/tree/{first.name}" for first in _first(folder)]
    if args.port is not None:
        command.append(f"--port={args.port}")
    if args.no_browser:
        command.append("--no-browser")
    if getattr(os, "geteuid", lambda: 1)() == 0:
        command.append("--allow-root")
    environment = os.environ | {"JUPYTER_CONFIG_PATH": _lab_settings()}
    if os.name != "nt":  # JupyterLab gets signals such as Ctrl-C directly
        os.execve(sys.executable, command, environment)  # noqa: S606 - our own arguments, no shell
    return subprocess.call(command, env=environment)  # noqa: S603 - likewise


def _lab_settings() -> str:
    """Return the settings path of JupyterLab, with ours, which disable its news prompts."""
    user_path = os.environ.get("JUPYTER_CONFIG_PATH")
    package_path = str(_PACKAGE / "jupyter")
    return f"{package_path}{os.pathsep}{user_path}" if user_path else package_path


def _first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.ipynb"))[:1]


def _notebooks(folder: str | None) -> Path:
    """Return the folder of notebooks; copy the tutorials into an empty one."""
    path = Path(folder or "notebooks")
    ours = _PACKAGE / "notebooks"
    if not any(path.glob("*.ipynb")) and ours.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        for file in (*ours.glob("*.ipynb"), *ours.glob("*.py")):  # modules that they import
            shutil.copyfile(file, path / file.name)
        say(f"Copied the tutorial notebooks to {path}")
    return path


def cases_of(workspace: Workspace, cases: str) -> str | CaseSet:
    """Return `cases` if it is a file, by its suffix, or the case set of that name."""
    from vellum_nb.sweep.cases import SUFFIXES

    if "://" in cases or PurePath(cases).suffix.lower() in SUFFIXES:
        return cases
    return _stored_set(workspace, cases, f"; a file ends in {', '.join(SUFFIXES)}")


def _stored_set(workspace: Workspace, name: str, hint: str = "") -> CaseSet:
    from vellum_nb.history import case_sets_of
    from vellum_nb.models.checks import available

    names = [version.name for version in case_sets_of(workspace.history).latest()]
    if name not in names:
        msg = f"There is no case set {name!r:.200}{hint}{available(names, _LISTED)}"
        raise InputError(msg)
    return workspace.case_set(name)


def add_case_set_add(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``case-set add``."""
    command.add_argument("set", metavar="SET", help="the name of the set; created if it is new")
    command.add_argument("cases", metavar="CASES", help="a .csv, .jsonl, .json or .parquet file")
    text = "whose inputs the cases have; needed for a new set"
    command.add_argument("--deployment", metavar="NAME", help=text)
    command.add_argument("--message", default="", help="reason of the change")


def add_case_set_export(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``case-set export``."""
    command.add_argument("set", metavar="SET", help="the name of the set")
    command.add_argument("path", metavar="FILE", help="the CSV to write, such as cases/billing.csv")
    command.add_argument("--version", type=int, metavar="N", help="default: the newest version")


def list_case_sets(args: argparse.Namespace) -> int:
    """Print the sets of a history."""
    with opened(args, existing(args.history)) as workspace:
        frame = workspace.case_sets
    if args.json:
        print(frame.to_json(orient="records", date_format="iso", force_ascii=True), file=data())
    else:
        print_safely(frame.to_string(index=False), data())
    return 0


def add_cases(args: argparse.Namespace) -> int:
    """Add cases of a file; return 2 if expected outputs differ from those of the set."""
    with opened(args, args.history) as workspace:
        suite = workspace.case_set(args.set, deployment=args.deployment)
        change = suite.add(args.cases, message=args.message)
    print_safely(str(change), data())
    return _CONFLICTS if change.conflicts else 0


def export_case_set(args: argparse.Namespace) -> int:
    """Write a set as CSV."""
    with opened(args, existing(args.history)) as workspace:
        suite = _stored_set(workspace, args.set)
        print_safely(f"Wrote {suite.to_csv(args.path, version=args.version)}", data())
    return 0


def add_watch(made: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    made.add_argument("name", metavar="NAME", help="the deployment's name")
    text = "a file of cases, or a case set: only these, with their expected outputs; default: all"
    made.add_argument("--cases", metavar="CASES", help=text)
    text = "the release tag; default: production"
    made.add_argument("--release-tag", default="production", metavar="TAG", help=text)
    text = "another release tag whose runs also count as earlier runs"
    made.add_argument("--reference", metavar="TAG", help=text)
    text = "a metric with bounds; default: score"
    made.add_argument("--metric", default="score", metavar="METRIC", help=text)
    text = "time between two checks: 12h, 1d, 1w; default: 1d"
    made.add_argument("--every", default="1d", metavar="TIME", help=text)
    text = "acceptable loss; default: 0"
    made.add_argument("--margin", type=float, default=0.0, metavar="LOSS", help=text)
    made.add_argument("--since", help="only runs since then: 2026-11-24, UTC")
    text = "runs outside of sweeps as one series, such as imported executions with ratings"
    made.add_argument("--unpaired", action="store_true", help=text)
    made.add_argument("--json", action="store_true", help="print JSON")


def watch(args: argparse.Namespace) -> int:
    """Check once; 0 if healthy, 1 if worse, 3 if it cannot tell yet."""
    with opened(args, existing(args.history)) as workspace:
        found = workspace.watch(
            args.name,
            args.cases and cases_of(workspace, args.cases),
            tag=args.release_tag,
            reference=args.reference,
            metric=args.metric,
            every=args.every,
            margin=args.margin,
            since=args.since,
            paired=not args.unpaired,
        )
    names = ("status", "sentence", "evidence", "release_tag", "metric")
    values = {name: getattr(found, name) for name in names}
    text = json.dumps(values, ensure_ascii=False) if args.json else found.sentence
    print(text, file=data())
    return _EXIT_STATUSES[found.status]
