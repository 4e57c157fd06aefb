"""``%%vellum_deploy``: a cell as a release, with its text as the source."""

from __future__ import annotations

import argparse
import ast
import importlib
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.loading import is_sdk_class
from vellum_nb.local.deployments.sources import undefined_names

if TYPE_CHECKING:
    from vellum_nb.local import LocalServer
    from vellum_nb.models import WorkflowDeploymentRelease

NAME = "vellum_deploy"


def offer(server: LocalServer) -> None:
    """Register the magic for `server` where this process is an IPython session."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        register(shell, lambda: server)


def register(shell: Any, server: Callable[[], LocalServer]) -> None:
    """Register ``%%vellum_deploy`` in an IPython shell; `server` is asked when a cell runs."""

    def vellum_deploy(line: str, cell: str) -> None:
        __tracebackhide__ = True
        try:
            _deploy(shell, server, line, cell)
        except VellumNBError as exc:
            raise _usage_error(str(exc)) from exc

    vellum_deploy.__doc__ = _parser().format_help()
    shell.register_magic_function(vellum_deploy, "cell", NAME)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a line as an error of ours, and never ends the process."""

    def error(self, message: str) -> NoReturn:
        msg = f"%%{NAME}: {message}\n{self.format_usage()}"
        raise VellumNBError(msg)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"%%{NAME}",
        description="Run the cell, and deploy the function or Workflows SDK class that it defines "
        "on a local server, with the cell's text as its source. It is loaded from there once more, "
        "so that no other cell changes the release.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="the deployment's name")
    parser.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="a release tag; may be repeated"
    )
    parser.add_argument("--description", metavar="TEXT", help="what is new in this release")
    parser.add_argument("--label", metavar="TEXT", help="how the deployment is shown")
    parser.add_argument(
        "--target", metavar="NAME", help="which function or class; default: the last one"
    )
    parser.add_argument(
        "--isolation",
        choices=["kernel", "process"],
        default="kernel",
        help="process: each run gets a process of its own",
    )
    parser.add_argument(
        "--memory-limit", type=int, metavar="BYTES", help="of such a process; default: none"
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="VARIABLE",
        help="an environment variable that such a process gets; may be repeated",
    )
    parser.add_argument(
        "--server", metavar="VARIABLE", help="the LocalServer; default: the connected one"
    )
    return parser


def _deploy(shell: Any, server: Callable[[], LocalServer], line: str, cell: str) -> None:
    __tracebackhide__ = True
    args = _parser().parse_args(_split(line))
    tree = _parse(shell, cell)
    missing = undefined_names(cell)
    if missing and args.isolation == "process":
        raise VellumNBError(_undefined_message(missing, "so it cannot run in a process of its own"))
    place = shell.compile.cache(cell, shell.execution_count)
    exec(compile(tree, place, "exec", dont_inherit=True), shell.user_ns)  # noqa: S102 - the user's
    target = args.target or _last_target(tree, shell.user_ns)
    release = _server(server, args.server, shell.user_ns).deploy(
        _defined(target, shell.user_ns),
        name=args.name,
        release_tags=args.tag,
        description=args.description,
        label=args.label,
        entry=target,
        isolation=args.isolation,
        source=cell,
        memory_limit=args.memory_limit,
        env=args.env,
    )
    print(_summary(args.name, release))  # noqa: T201 - it is the output of the cell
    if missing:
        print(_undefined_message(missing, "so it cannot be loaded again after a restart"))  # noqa: T201


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as exc:
        msg = f"%%{NAME}: {exc} in {line!r}"
        raise VellumNBError(msg) from exc


def _parse(shell: Any, cell: str) -> ast.Module:
    try:
        return ast.parse(cell)
    except SyntaxError:
        changed = shell.transform_cell(cell)
        __tracebackhide__ = True
        if changed.strip() != cell.strip():
            msg = "The source of a release is plain Python: leave out magics (%) and commands (!)"
            raise VellumNBError(msg) from None
        raise


def _last_target(tree: ast.Module, namespace: dict[str, Any]) -> str:
    """Return the name of the last function or Workflows SDK class of a cell."""
    found = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(node, ast.ClassDef) and is_sdk_class(namespace.get(node.name)))
    ]
    if not found:
        msg = "The cell defines no function and no Workflow class; name what to deploy by --target"
        raise VellumNBError(msg)
    return found[-1]


def _defined(name: str, namespace: dict[str, Any]) -> Any:
    if name not in namespace:
        msg = f"There is no {name!r} after the cell has run; --target takes a name it defines"
        raise VellumNBError(msg)
    return namespace[name]


def _server(
    server: Callable[[], LocalServer], variable: str | None, namespace: dict[str, Any]
) -> LocalServer:
    from vellum_nb.local import LocalServer

    if variable is None:
        return server()
    server_found = namespace.get(variable)
    if not isinstance(server_found, LocalServer):
        msg = f"--server {variable}: that is no LocalServer of this notebook"
        raise VellumNBError(msg)
    return server_found


def _summary(name: str, release: WorkflowDeploymentRelease) -> str:
    version = release.workflow_version
    tags = ", ".join(tag.name for tag in release.release_tags)
    inputs, outputs = (
        ", ".join(f"{v.key} {v.type}" for v in variables)
        for variables in (version.input_variables, version.output_variables)
    )
    return f"{name} ({tags}): {inputs or 'no inputs'} → {outputs or 'outputs not declared'}"


def _undefined_message(missing: list[str], so: str) -> str:
    return (
        f"The cell uses {', '.join(missing)}, which it neither defines nor imports, {so}; "
        "put it into the cell"
    )


def _usage_error(message: str) -> Exception:
    """Return the error that IPython shows without a traceback."""
    kind: type[Exception] = importlib.import_module("IPython.core.error").UsageError
    return kind(message)
