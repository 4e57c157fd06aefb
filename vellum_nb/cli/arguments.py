"""What can be typed."""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

import vellum_nb
from vellum_nb.cli import commands as do
from vellum_nb.cli.compare import add_compare
from vellum_nb.cli.lab import lab
from vellum_nb.cli.sweep import add_sweep

DEFAULT_TARGET = "Vellum when VELLUM_API_KEY is set, else a local server with sample deployments"


class _Parser(argparse.ArgumentParser):
    """Its errors quote what was typed, but no password of a URL."""

    def error(self, message: str) -> NoReturn:
        super().error(re.sub(r"(\w://)\S*@", r"\1", message))


def parser() -> argparse.ArgumentParser:
    """Return the parser; what it parses has the `command` to call."""
    made = _Parser(
        prog="vellum-nb",
        description="Run, keep and compare Vellum workflow releases.",
        epilog=f"Runs go to {DEFAULT_TARGET}.",
    )
    made.add_argument("--version", action="version", version=vellum_nb.__version__)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    runs = (_add_run, _add_sweep, _add_compare)
    for add in (_add_lab, _add_serve, _add_deployments, *runs, _add_history):
        add(commands)
    return made


Commands = Any  # argparse names this type with an underscore


def _command(commands: Commands, name: str, summary: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    return made


def _add_lab(commands: Commands) -> None:
    made = _command(commands, "lab", "open JupyterLab on the notebooks")
    made.add_argument("folder", nargs="?", help="where the notebooks are, or are to be put")
    made.add_argument("--port", type=int, help="JupyterLab's port")
    made.add_argument("--no-browser", action="store_true", help="do not open a browser")
    made.set_defaults(command=lab)


def _add_serve(commands: Commands) -> None:
    serve = _command(commands, "serve", "run the local server with the sample deployments")
    serve.add_argument("--port", type=int, default=8765, help="default: 8765; 0 takes a free one")
    serve.add_argument("--data", metavar="DIR", help="keep deployments and executions in DIR")
    serve.add_argument("--no-samples", action="store_true", help="start empty")
    serve.add_argument(
        "--models-url",
        metavar="URL",
        help="the OpenAI-compatible endpoint that answers prompt nodes, such as "
        f"http://127.0.0.1:11434/v1; its key is taken from {do.MODELS_KEY}",
    )
    serve.add_argument("--model", help="answers every prompt; default: the one a node names")
    serve.set_defaults(command=do.serve)


def _add_deployments(commands: Commands) -> None:
    deployments = _command(commands, "deployments", "list the deployments")
    _add_target(deployments)
    deployments.add_argument("--json", action="store_true", help="print JSON")
    deployments.set_defaults(command=do.deployments)


def _add_run(commands: Commands) -> None:
    run = _command(commands, "run", "run a deployment on release tags, side by side")
    run.add_argument("name", metavar="NAME", help="the deployment's name")
    run.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="K=V",
        help="an input variable; V is JSON where the variable is not text; @FILE reads a file",
    )
    run.add_argument(
        "--release-tag", action="append", metavar="TAG", help="default: LATEST; may be repeated"
    )
    _add_target(run)
    _add_history_file(run)
    output = run.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print the runs as JSON lines")
    output.add_argument("--stream", action="store_true", help="print text as it grows")
    run.set_defaults(command=do.run)


def _add_sweep(commands: Commands) -> None:
    made = _command(commands, "sweep", "run many cases on release tags; goes on where it stopped")
    add_sweep(made)
    _add_target(made)
    _add_history_file(made)


def _add_compare(commands: Commands) -> None:
    made = _command(commands, "compare", "compare stored runs of release tags")
    add_compare(made)
    _add_target(made)
    _add_history_file(made)


def _add_history(commands: Commands) -> None:
    history = _command(commands, "history", "read the history, or add to it")
    actions = history.add_subparsers(required=True, metavar="ACTION")
    _add_export(actions)
    _add_sync(actions)
    merge = _command(actions, "merge", "take over another history, a copy of this one for example")
    merge.add_argument("other", metavar="OTHER", help="the file of another history")
    merge.set_defaults(command=do.merge)
    vacuum = _command(actions, "vacuum", "forget what was deleted, and make the file smaller")
    vacuum.add_argument("--yes", action="store_true", help="forget deleted runs without asking")
    vacuum.set_defaults(command=do.vacuum)
    for each in (merge, vacuum):
        _add_history_file(each)
    check = _command(actions, "check", "say whether a history is whole")
    check.add_argument("file", nargs="?", metavar="FILE", help="default: the user's own history")
    check.set_defaults(command=do.check)


def _add_export(actions: Commands) -> None:
    export = _command(actions, "export", "write runs as CSV, Parquet or JSON lines")
    export.add_argument(
        "path", nargs="?", metavar="PATH", help=".csv, .parquet or .jsonl; default: CSV on stdout"
    )
    export.add_argument("--deployment", help="only runs of this deployment")
    export.add_argument("--release-tag", action="append", help="only runs on this tag")
    export.add_argument("--sweep-id", metavar="ID", help="only runs of this sweep")
    export.add_argument("--state", action="append", help="only runs in this state")
    export.add_argument("--since", help="only runs from then on: 2026-11-24, UTC")
    export.add_argument(
        "--columns",
        action="append",
        metavar="NAMES",
        help='only these, in this order: timestamp,output.reply; "…" around a name with a comma',
    )
    export.add_argument("--json", action="store_true", help="JSON lines on stdout")
    _add_history_file(export)
    export.set_defaults(command=do.export)


def _add_sync(actions: Commands) -> None:
    sync = _command(actions, "sync", "bring executions that were made elsewhere")
    sync.add_argument("name", metavar="NAME", help="the deployment's name")
    sync.add_argument("--since", help="only what began from then on: 2026-11-24, UTC")
    sync.add_argument("--until", help="only what began before then")
    sync.add_argument("--limit", type=int, help="only so many of the newest")
    _add_target(sync)
    _add_history_file(sync)
    sync.set_defaults(command=do.sync)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", help=f'"vellum", "local" or a URL; default: {DEFAULT_TARGET}')


def _add_history_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--history", metavar="FILE", help="default: the user's own history")
