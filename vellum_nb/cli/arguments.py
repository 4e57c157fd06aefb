"""The arguments of the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import vellum_nb
from vellum_nb.cli import commands as do
from vellum_nb.cli.compare import add_compare, compare
from vellum_nb.cli.sweep import add_sweep, sweep

DEFAULT_TARGET = "Vellum when VELLUM_API_KEY is set, else a local server with sample deployments"


class _Parser(argparse.ArgumentParser):
    """Accepts no abbreviated options, and hides the password of a URL in its errors."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        super().error(re.sub(r"(\w://)\S*@", r"\1", message))


def parser() -> argparse.ArgumentParser:
    """Return the parser. Its namespaces have the `command` to call."""
    made = _Parser(
        prog="vellum-nb",
        description="Run, keep and compare Vellum workflow releases.",
        epilog=f"Runs go to {DEFAULT_TARGET}.",
    )
    made.add_argument("--version", action="version", version=vellum_nb.__version__)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    _add_lab_and_serve(commands)
    deployments = _command(commands, "deployments", "list the deployments", do.deployments, _TARGET)
    deployments.add_argument("--json", action="store_true", help="print JSON")
    _add_run(commands)
    both = _TARGET | _HISTORY
    text = "run many cases on release tags; the same command resumes"
    add_sweep(_command(commands, "sweep", text, sweep, both))
    add_compare(_command(commands, "compare", "compare stored runs of release tags", compare, both))
    text = "check whether a release tag has become worse, from stored runs"
    do.add_watch(_command(commands, "watch", text, do.watch, both))
    _add_case_set(_command(commands, "case-set", "list, grow or export case sets"))
    history = _command(commands, "history", "read, check or add to the history")
    _add_history(history.add_subparsers(required=True, metavar="ACTION"))
    return made


Commands = Any  # argparse names this type with an underscore
_TARGET = {"--target": {"help": f'"vellum", "local" or a URL; default: {DEFAULT_TARGET}'}}
_HISTORY = {"--history": {"metavar": "FILE", "help": "default: the user's own history"}}


def _command(
    commands: Commands,
    name: str,
    summary: str,
    command: Callable[[argparse.Namespace], int] | None = None,
    options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> argparse.ArgumentParser:
    description = f"{summary[0].upper()}{summary[1:]}."
    made: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=description)
    for option, settings in options.items():
        made.add_argument(option, **settings)
    made.set_defaults(command=command)
    return made


def _add_lab_and_serve(commands: Commands) -> None:
    made = _command(commands, "lab", "open JupyterLab on the notebooks", do.lab)
    made.add_argument(
        "folder", nargs="?", help="the folder of the notebooks; made if it does not exist"
    )
    made.add_argument("--port", type=int, help="JupyterLab's port")
    made.add_argument("--no-browser", action="store_true", help="do not open a browser")
    text = "run the local server with the sample deployments"
    serve = _command(commands, "serve", text, do.serve)
    serve.add_argument("--port", type=int, default=8765, help="default: 8765; 0: any free port")
    serve.add_argument("--data", metavar="DIR", help="store deployments and executions in DIR")
    serve.add_argument("--no-samples", action="store_true", help="start empty")
    text = (
        "the OpenAI-compatible endpoint that answers prompt nodes, such as "
        f"http://127.0.0.1:11434/v1; its key is in {do.MODELS_KEY}"
    )
    serve.add_argument("--models-url", metavar="URL", help=text)
    serve.add_argument(
        "--model", help="the model for every prompt; default: the one that a node names"
    )


def _add_run(commands: Commands) -> None:
    text = "run a deployment on release tags, side by side"
    run = _command(commands, "run", text, do.run, _TARGET | _HISTORY)
    run.add_argument("name", metavar="NAME", help="the deployment's name")
    text = "an input variable; V is JSON if the variable is not text; @FILE reads a file"
    run.add_argument("--input", action="append", default=[], metavar="K=V", help=text)
    text = "default: LATEST; can be repeated"
    run.add_argument("--release-tag", action="append", metavar="TAG", help=text)
    output = run.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the runs as JSON lines")
    output.add_argument("--stream", action="store_true", help="print text as it arrives")


def _add_case_set(case_set: argparse.ArgumentParser) -> None:
    actions, both = case_set.add_subparsers(required=True, metavar="ACTION"), _TARGET | _HISTORY
    listing = _command(actions, "list", "list the case sets", do.list_case_sets, both)
    listing.add_argument("--json", action="store_true", help="print JSON")
    text = "add the cases of a file to a set"
    do.add_case_set_add(_command(actions, "add", text, do.add_cases, both))
    export = _command(actions, "export", "write a set as CSV", do.export_case_set, both)
    do.add_case_set_export(export)


def _add_history(actions: Commands) -> None:
    text = "write runs as CSV, Parquet or JSON lines"
    export = _command(actions, "export", text, do.export, _HISTORY)
    text = ".csv, .parquet or .jsonl; default: CSV on stdout"
    export.add_argument("path", nargs="?", metavar="PATH", help=text)
    export.add_argument("--deployment", help="only runs of this deployment")
    export.add_argument("--release-tag", action="append", help="only runs on this tag")
    export.add_argument("--sweep-id", metavar="ID", help="only runs of this sweep")
    export.add_argument("--state", action="append", help="only runs in this state")
    export.add_argument("--since", help="only runs since then: 2026-11-24, UTC")
    text = 'only these, in this order: timestamp,output.reply; "…" around a name with a comma'
    export.add_argument("--columns", action="append", metavar="NAMES", help=text)
    export.add_argument("--json", action="store_true", help="JSON lines on stdout")
    text = "import executions that were made elsewhere"
    sync = _command(actions, "sync", text, do.sync, _TARGET | _HISTORY)
    sync.add_argument("name", metavar="NAME", help="the deployment's name")
    sync.add_argument("--since", help="only executions since then: 2026-11-24, UTC")
    sync.add_argument("--until", help="only executions before then")
    sync.add_argument("--limit", type=int, metavar="N", help="at most N, the newest")
    text = "merge another history into this one"
    merge = _command(actions, "merge", text, do.merge, _HISTORY)
    merge.add_argument("other", metavar="OTHER", help="the file of another history")
    text = "remove deleted runs for good, and make the file smaller"
    vacuum = _command(actions, "vacuum", text, do.vacuum, _HISTORY)
    vacuum.add_argument(
        "--yes", action="store_true", help="remove deleted runs without confirmation"
    )
    check = _command(actions, "check", "check a history for damage", do.check)
    check.add_argument("file", nargs="?", metavar="FILE", help="default: the user's own history")
