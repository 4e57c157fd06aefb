"""What a release is made of: from what is handed to `deploy` to code with variables."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vellum_nb.local.callables.signature import name_of
from vellum_nb.local.deployments.loading import WorkflowGoneError, code_of, import_path, load
from vellum_nb.local.deployments.names import missing_names
from vellum_nb.local.deployments.sources import MODULE, Snapshot, Snapshots, read_source
from vellum_nb.local.engine.code import Code
from vellum_nb.local.isolation import Process, ProcessCode, process_for
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import VellumVariable

__all__ = ["Build", "Declared", "Target", "build"]

Target = Callable[..., Any] | type | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Declared:
    """What source declares, where it is known: it is not imported then before its first run."""

    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """What a release is made of; `name` is the deployment's if none is given."""

    name: str
    code: str
    summary: str
    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    snapshot: Snapshot | None = None
    process: Process | None = None
    loaded: Code | None = None


def build(
    target: Target,
    snapshots: Snapshots,
    *,
    entry: str | None = None,
    isolation: str = "kernel",
    memory_limit: int | None = None,
    env: Sequence[str] = (),
    source: str | None = None,
    declared: Declared | None = None,
) -> Build:
    """Return what a release of `target` is made of; see `LocalServer.deploy`.

    Raises
    ------
    VellumNBError
        When it cannot be deployed; the message says why.
    """
    process = process_for(isolation, memory_limit=memory_limit, env=env)
    if isinstance(target, os.PathLike):
        path = Path(target).expanduser().resolve()
        snapshot = snapshots.keep(read_source(path))
        name = path.name if path.is_dir() else ""
        return _from_source(snapshot, entry or "", process, name=name, declared=declared)
    if source is None:
        live = code_of(target)
        if process is not None:
            msg = (
                f"{name_of(target)} cannot run in a process of its own: its source is not known. "
                "Deploy the Path of its file or folder, or the cell with %%vellum_deploy"
            )
            raise bad_request(msg)
        return _described(name_of(target), import_path(target), live, loaded=live)
    snapshot = snapshots.keep({f"{MODULE}.py": source.encode()})
    code = f"{MODULE}:{entry or name_of(target)}"
    if process is not None or not _lacks(source):
        return _from_source(snapshot, code, process, name=name_of(target))
    live = code_of(target)
    return _described(name_of(target), code, live, snapshot=snapshot, loaded=live)


def _lacks(source: str) -> list[str]:
    try:
        return missing_names(source)
    except SyntaxError as exc:
        msg = f"The source is no Python: {exc}"
        raise bad_request(msg) from exc


def _from_source(
    snapshot: Snapshot,
    entry: str,
    process: Process | None,
    *,
    name: str,
    declared: Declared | None = None,
) -> Build:
    if declared is not None:
        return Build(
            name or entry.rpartition(":")[2],
            entry,
            declared.summary,
            declared.input_variables,
            declared.output_variables,
            snapshot,
            process,
        )
    try:
        if process is not None:
            code, made = ProcessCode.described(snapshot, entry, process)
            return _described(name or _last(code), code, made, snapshot=snapshot, process=process)
        code, loaded = load(snapshot, entry)
    except WorkflowGoneError as exc:
        msg = f"The source cannot be deployed: {exc}"
        raise bad_request(msg) from exc
    return _described(name or _last(code), code, loaded, snapshot=snapshot, loaded=loaded)


def _last(code: str) -> str:
    return code.rpartition(":")[2]


def _described(
    name: str,
    place: str,
    code: Code,
    *,
    snapshot: Snapshot | None = None,
    process: Process | None = None,
    loaded: Code | None = None,
) -> Build:
    return Build(
        name,
        place,
        code.description,
        code.input_variables,
        code.output_variables,
        snapshot,
        process,
        loaded,
    )
