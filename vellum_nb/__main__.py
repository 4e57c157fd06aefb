"""The command line: parse, call one public function, print.

Data goes to stdout, messages to stderr; our errors are one line and exit status 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import vellum_nb
from vellum_nb.errors import VellumNBError

if TYPE_CHECKING:
    from vellum_nb.history import History
    from vellum_nb.models import Run
    from vellum_nb.workspace import Workspace

__all__ = ["main"]

DEFAULT_TARGET = "Vellum when VELLUM_API_KEY is set, else a local server with sample deployments"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    _let_any_text_through()
    args = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = args.command
    try:
        return command(args)
    except VellumNBError as exc:
        _say(f"vellum-nb: {exc}")
        return 1
    except BrokenPipeError:  # the reader, `head` perhaps, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as exc:
        _say(f"vellum-nb: {exc}")
        return 1
    except KeyboardInterrupt:
        _say("vellum-nb: interrupted")
        return 130


def _let_any_text_through() -> None:
    """Have what the terminal's encoding cannot write appear as an escape, not as a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _data() -> TextIO:
    """Return stdout for data: UTF-8 and plain line feeds, as in the files that we write."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    return sys.stdout


def _say(text: str) -> None:
    from vellum_nb.experiments.text import printable

    print(printable(text), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vellum-nb",
        description="Run, keep and compare Vellum workflow releases.",
        epilog=f"Runs go to {DEFAULT_TARGET}.",
    )
    parser.add_argument("--version", action="version", version=vellum_nb.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_lab, _add_serve, _add_deployments, _add_run, _add_history):
        add(commands)
    return parser


Commands = Any  # argparse names this type with an underscore


def _command(commands: Commands, name: str, summary: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
    )
    return made


def _add_lab(commands: Commands) -> None:
    lab = _command(commands, "lab", "open JupyterLab on the notebooks")
    lab.add_argument("folder", nargs="?", help="where the notebooks are, or are to be put")
    lab.add_argument("--port", type=int, help="JupyterLab's port")
    lab.add_argument("--no-browser", action="store_true", help="do not open a browser")
    lab.set_defaults(command=_lab)


def _add_serve(commands: Commands) -> None:
    serve = _command(commands, "serve", "run the local server with the sample deployments")
    serve.add_argument("--port", type=int, default=8765, help="default: 8765; 0 takes a free one")
    serve.add_argument("--data", metavar="DIR", help="keep deployments and releases in DIR")
    serve.add_argument("--no-samples", action="store_true", help="start empty")
    serve.set_defaults(command=_serve)


def _add_deployments(commands: Commands) -> None:
    deployments = _command(commands, "deployments", "list the deployments")
    _add_target(deployments)
    deployments.add_argument("--json", action="store_true", help="print JSON")
    deployments.set_defaults(command=_deployments)


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
    _add_kept(run)
    run.add_argument("--json", action="store_true", help="print the runs as JSON lines")
    run.set_defaults(command=_run)


def _add_history(commands: Commands) -> None:
    history = _command(commands, "history", "read the history")
    actions = history.add_subparsers(required=True, metavar="ACTION")
    export = _command(actions, "export", "write runs as CSV, Parquet or JSON lines")
    export.add_argument(
        "path", nargs="?", metavar="PATH", help=".csv, .parquet or .jsonl; default: CSV on stdout"
    )
    export.add_argument("--deployment", help="only runs of this deployment")
    export.add_argument("--release-tag", action="append", help="only runs on this tag")
    export.add_argument("--state", action="append", help="only runs in this state")
    export.add_argument("--since", help="only runs from then on: 2026-11-24, UTC")
    export.add_argument("--json", action="store_true", help="JSON lines on stdout")
    _add_kept(export)
    export.set_defaults(command=_export)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--target", help=f'"vellum", "local" or a URL; default: {DEFAULT_TARGET}')


def _add_kept(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--history", metavar="FILE", help="default: the user's own history")


def _open(args: argparse.Namespace, history: str | None) -> Workspace:
    from vellum_nb.workspace import open_workspace

    return open_workspace(args.target, history=history, say=_say)


def _lab(args: argparse.Namespace) -> int:
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
    if os.name != "nt":  # in our place: Ctrl-C and kill reach JupyterLab and its kernels
        os.execve(sys.executable, command, environment)  # noqa: S606 - our own arguments, no shell
    return subprocess.call(command, env=environment)  # noqa: S603 - likewise


def _lab_settings() -> str:
    """Return where JupyterLab looks for settings: ours turn off its questions about news."""
    given = os.environ.get("JUPYTER_CONFIG_PATH")
    ours = str(Path(__file__).parent / "jupyter")
    return f"{ours}{os.pathsep}{given}" if given else ours


def _first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.ipynb"))[:1]


def _notebooks(folder: str | None) -> Path:
    """Return the folder of notebooks; put ours there when it holds none."""
    path = Path(folder or "notebooks")
    ours = Path(__file__).parent / "notebooks"
    if not any(path.glob("*.ipynb")) and ours.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        for notebook in ours.glob("*.ipynb"):
            shutil.copyfile(notebook, path / notebook.name)
        _say(f"Put the tutorial notebooks into {path}")
    return path


def _serve(args: argparse.Namespace) -> int:
    server = vellum_nb.LocalServer(port=args.port, data=args.data, samples=not args.no_samples)
    with server, suppress(KeyboardInterrupt):
        print(f"VELLUM_API_URL={server.url}")
        print(f"VELLUM_API_KEY={server.api_key}", flush=True)
        _say("Serving until Ctrl-C. The two lines above are for the client's environment.")
        server.run_forever()
    return 0


def _deployments(args: argparse.Namespace) -> int:
    with _open(args, ":memory:") as workspace:
        frame = workspace.deployments()
    if args.json:
        print(frame.to_json(orient="records", date_format="iso", force_ascii=False), file=_data())
        return 0
    for row in frame.itertuples():
        print(f"{row.name}\n  in   {row.inputs}\n  out  {row.outputs}")
    return 0


def _run(args: argparse.Namespace) -> int:
    tags = dict.fromkeys(args.release_tag or ["LATEST"])
    runs: list[Run] = []
    with _open(args, args.history) as workspace:
        cases = {tag: workspace.read_inputs(args.name, args.input, release_tag=tag) for tag in tags}
        try:
            for tag, inputs in cases.items():
                runs.append(workspace.run(args.name, inputs, release_tag=tag))
        finally:  # an error on one tag does not hide the answers of the others
            _show(runs, as_json=args.json)
    return 0 if all(run.state == "FULFILLED" for run in runs) else 2


def _show(runs: Sequence[Run], *, as_json: bool) -> None:
    from vellum_nb.experiments.text import side_by_side_text
    from vellum_nb.history.export import write_jsonl

    if as_json:
        write_jsonl(runs, _data())
    elif runs:
        print(side_by_side_text(runs, width=shutil.get_terminal_size((100, 24)).columns))


def _export(args: argparse.Namespace) -> int:
    filters = {
        "deployment": args.deployment,
        "release_tag": args.release_tag,
        "state": args.state,
        "since": args.since,
    }
    if args.history is not None and not Path(args.history).expanduser().exists():
        msg = f"There is no history {args.history}"
        raise VellumNBError(msg)
    with vellum_nb.History(args.history) as history:
        if args.path is not None:
            _written(history, Path(args.path), filters)
            _say(f"Wrote {history.count(**filters)} runs to {args.path}")
        elif args.json:
            history.write_jsonl(_data(), **filters)
        else:
            history.write_csv(_data(), **filters)
    return 0


def _written(history: History, path: Path, filters: dict[str, Any]) -> None:
    writers = {
        ".csv": history.to_csv,
        ".parquet": history.to_parquet,
        ".jsonl": history.to_jsonl,
    }
    if path.suffix not in writers:
        msg = f"Cannot tell the format of {path}: end its name in {', '.join(writers)}"
        raise VellumNBError(msg)
    writers[path.suffix](path, **filters)


if __name__ == "__main__":
    sys.exit(main())
