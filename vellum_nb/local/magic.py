"""``%%vellum_deploy``: release of the code in a cell."""

from __future__ import annotations

import argparse
import ast
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.loading import is_sdk_class
from vellum_nb.local.deployments.registry import CellCode
from vellum_nb.local.deployments.sources import undefined_names
from vellum_nb.local.isolation.process import Isolation
from vellum_nb.models.inputs import type_name

if TYPE_CHECKING:
    from vellum_nb.local import LocalServer

NAME = "vellum_deploy"


def offer(server: LocalServer) -> None:
    """Register the magic for `server` in an IPython session."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        register(shell, lambda: server)


def register(shell: Any, server: Callable[[], LocalServer]) -> None:
    """Register ``%%vellum_deploy`` in an IPython shell; `server` is called when a cell runs."""
    from IPython.core.error import UsageError
    from IPython.core.magic_arguments import MagicArgumentParser

    parser: Any = MagicArgumentParser(  # type: ignore[no-untyped-call]
        prog=f"%%{NAME}",
        description="Run the cell and deploy the function or Workflows SDK class that it defines "
        "on a local server. The release is loaded from the text of the cell, so other cells cannot "
        "change it.",
        add_help=False,
    )
    add, several = parser.add_argument, {"action": "append", "default": []}
    add("name", metavar="NAME", help="the deployment's name")
    add("--tag", **several, metavar="TAG", help="a release tag; can be repeated")
    add("--description", metavar="TEXT", help="description of the release")
    add("--label", metavar="TEXT", help="the label of the deployment")
    add("--target", metavar="NAME", help="function or class to deploy; default: the last one")
    isolations = {"choices": ["kernel", "process"], "default": "kernel"}
    add("--isolation", **isolations, help="process: run in a separate process")
    add("--memory-limit", type=int, metavar="BYTES", help="limit of bytes of the process")
    add("--env", **several, metavar="VARIABLE", help="environment variable to pass to the process")
    add("--server", metavar="VARIABLE", help="the LocalServer; default: the connected one")

    def vellum_deploy(line: str, cell: str) -> None:
        __tracebackhide__ = True
        try:
            args = parser.parse_args(shlex.split(line))
        except ValueError as exc:
            msg = f"%%{NAME}: {exc} in {line!r}"
            raise UsageError(msg) from exc
        try:
            _deploy(shell, server, args, cell)
        except VellumNBError as exc:
            raise UsageError(str(exc)) from exc

    vellum_deploy.__doc__ = parser.format_help()
    shell.register_magic_function(vellum_deploy, "cell", NAME)


def _deploy(
    shell: Any, server: Callable[[], LocalServer], args: argparse.Namespace, cell: str
) -> None:
    __tracebackhide__ = True
    from vellum_nb.local import LocalServer

    try:
        tree = ast.parse(cell)
    except SyntaxError:
        if shell.transform_cell(cell).strip() != cell.strip():
            msg = "The source of a release is plain Python: leave out magics (%) and commands (!)"
            raise VellumNBError(msg) from None
        raise
    missing = undefined_names(cell)
    needs = (
        f"The cell uses {', '.join(missing)}, which it neither defines nor imports, so it cannot"
    )
    if missing and args.isolation == "process":
        msg = f"{needs} run in a process of its own; put it into the cell"
        raise VellumNBError(msg)
    names = shell.user_ns
    place = shell.compile.cache(cell, shell.execution_count)
    exec(compile(tree, place, "exec", dont_inherit=True), names)  # noqa: S102 - the user's
    entry, target = _target(args.target, tree, names)
    on = server() if args.server is None else names.get(args.server)
    if not isinstance(on, LocalServer):
        msg = f"--server {args.server}: that is not a LocalServer of this notebook"
        raise VellumNBError(msg)
    release = on.deploy(
        CellCode(target, cell),
        name=args.name,
        release_tags=args.tag,
        description=args.description,
        label=args.label,
        entry=entry,
        isolation=Isolation(args.isolation, memory_limit=args.memory_limit, env=args.env),
    )
    version = release.workflow_version
    inputs, outputs = (
        ", ".join(f"{v.key}: {type_name(v)}" for v in variables)
        for variables in (version.input_variables, version.output_variables)
    )
    tags = ", ".join(tag.name for tag in release.release_tags)
    result = f"{inputs or 'no inputs'} → {outputs or 'outputs not declared'}"
    print(f"{args.name} ({tags}): {result}")  # noqa: T201 - output of the cell
    if missing:
        print(f"{needs} be loaded again after a restart; put it into the cell")  # noqa: T201


def _target(name: str | None, tree: ast.Module, names: dict[str, Any]) -> tuple[str, Any]:
    """Return name and value of the target; default: the last function or SDK class."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    for node in () if name else tree.body:
        if isinstance(node, functions) or (
            isinstance(node, ast.ClassDef) and is_sdk_class(names.get(node.name))
        ):
            name = node.name
    if name is None:
        msg = "The cell defines no function and no Workflow class; name the target with --target"
        raise VellumNBError(msg)
    if name not in names:
        msg = f"There is no {name!r} after the cell has run; give --target a name that it defines"
        raise VellumNBError(msg)
    return name, names[name]
