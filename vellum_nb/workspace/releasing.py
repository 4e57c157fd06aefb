"""What is deployed: frames of deployments and releases, moved tags, code."""

from __future__ import annotations

import io
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

from vellum_nb.client import Client
from vellum_nb.errors import APIResponseError, InputError, VellumNBError
from vellum_nb.models import (
    SlimWorkflowDeployment,
    VellumVariable,
    WorkflowDeploymentRelease,
    WorkflowReleaseTagRead,
)
from vellum_nb.workspace.lookup import Lookup

if TYPE_CHECKING:
    import pandas as pd


def deployments_frame(deployments: Iterable[SlimWorkflowDeployment]) -> pd.DataFrame:
    """Return one row a deployment."""
    columns = ["name", "label", "description", "inputs", "outputs", "status", "created", "id"]
    rows = [
        (
            d.name,
            d.label,
            d.description or "",
            _signature(d.input_variables),
            _signature(d.output_variables),
            d.status or "",
            d.created,
            d.id,
        )
        for d in deployments
    ]
    return _frame(rows, columns)


def releases_frame(releases: Iterable[WorkflowDeploymentRelease]) -> pd.DataFrame:
    """Return one row a release, with the digest of its image where any runs in one."""
    releases = list(releases)
    columns = ["release_tags", "description", "inputs", "outputs", "created", "release_id"]
    images = [r.workflow_version.container_image or "" for r in releases]
    rows: list[tuple[str | datetime | None, ...]] = [
        (
            ", ".join(tag.name for tag in r.release_tags),
            r.description or "",
            _signature(r.workflow_version.input_variables),
            _signature(r.workflow_version.output_variables),
            r.created,
            r.id,
        )
        for r in releases
    ]
    if any(images):
        rows = [(*row, image) for row, image in zip(rows, images, strict=True)]
        columns.append("image")
    return _frame(rows, columns)


def cases_frame(texts: Mapping[str, str], where: str) -> pd.DataFrame:
    """Return the cases of a pulled project as a DataFrame.

    Raises
    ------
    InputError
        There are none.
    """
    import pandas as pd

    rows = json.loads(texts.get("dataset.json", "[]"))
    if not rows:
        msg = (
            f"{where} has no cases: push a project whose sandbox.py has a dataset, with "
            "vellum workflows push --deploy"
        )
        raise InputError(msg)
    found = []
    for row in rows:
        inputs = {f"input.{name}": value for name, value in row["inputs"].items()}
        mocks = {"mocks": row["mocks"]} if row.get("mocks") else {}
        found.append({"label": row.get("label", ""), **inputs, **mocks})
    return pd.DataFrame(found)


def _frame(rows: Sequence[tuple[str | datetime | None, ...]], columns: list[str]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(rows, columns=columns)
    texts = [column for column in columns if column != "created"]
    frame["created"] = pd.to_datetime(frame["created"], utc=True).astype("datetime64[us, UTC]")
    return frame.astype(dict.fromkeys(texts, "str"))


def _signature(variables: Iterable[VellumVariable]) -> str:
    """Return variables in one line, the optional ones with a question mark."""
    return ", ".join(f"{v.key}{'' if v.is_required else '?'}: {v.type}" for v in variables)


_MOST_BYTES = 64 * 2**20
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    struct.error,
)


def texts_of(archive: bytes, what: str) -> dict[str, str]:
    """Return path to text, by path; a file that is no text is told by its size.

    Raises
    ------
    APIResponseError
        It is no ZIP archive, one that grows beyond 64 MiB, or one with paths that lead out of the
        folder that somebody may write it to.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            members = [info for info in files.infolist() if not info.is_dir()]
            if sum(info.file_size for info in members) > _MOST_BYTES:
                msg = f"{what} is an archive of more than {_MOST_BYTES >> 20} MiB; it was not read"
                raise APIResponseError(msg)
            found = {info.filename: _text(_content(files, info)) for info in members}
    except _UNREADABLE as exc:
        msg = f"{what} is no ZIP archive that can be read: {exc}"
        raise APIResponseError(msg) from exc
    astray = [path for path in found if _leads_out(path)]
    if astray:
        msg = f"{what} has paths that lead out of its folder, {astray[0]!r:.60}; it was not read"
        raise APIResponseError(msg)
    return dict(sorted(found.items()))


def _content(files: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return the bytes of a file; one that is longer than it says grows no further."""
    with files.open(info) as file:
        return file.read(info.file_size + 1)


def _leads_out(path: str) -> bool:
    windows = PureWindowsPath(path)  # it understands both kinds of slashes
    return bool(windows.anchor) or ".." in windows.parts


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return f"({len(content)} bytes that are no text)\n"


def move_tag(
    client: Client, lookup: Lookup, deployment: str, tag: str, to: str, *, confirm: bool
) -> WorkflowReleaseTagRead:
    """Have the release tag `tag` point at another release, after a question."""
    target = lookup.release(deployment, to)
    now = lookup.release(deployment, tag)
    if target.id == now.id:
        return client.retrieve_workflow_release_tag(deployment, tag)
    names = (_name(now, tag), _name(target, tag, to))
    if confirm and not _agreed(f"Move {tag} of {deployment} from {names[0]} to {names[1]}?"):
        return client.retrieve_workflow_release_tag(deployment, tag)
    moved = client.update_workflow_release_tag(deployment, tag, history_item_id=target.id)
    if (moved.name, moved.release_id) != (tag, target.id):
        msg = (
            f"{tag} of {deployment} was to move to {target.id}, but the server answers that "
            f"{moved.name} is at {moved.release_id}; look at ws.releases({deployment!r})"
        )
        raise APIResponseError(msg)
    return moved


def _name(release: WorkflowDeploymentRelease, moved: str, given: str = "") -> str:
    """Return what to call a release in a question: a tag that stays with it, or its id."""
    tags = [tag.name for tag in release.release_tags if tag.name not in {moved, "LATEST"}]
    if given in tags:
        return given
    return tags[0] if tags else given or release.id


def _agreed(question: str) -> bool:
    try:
        answer = input(f"{question} [y/N] ")
    except (EOFError, OSError, RuntimeError) as exc:  # no terminal, or a kernel without input
        msg = f"{question} There is nobody to ask here: give confirm=False to do it. Not moved."
        raise VellumNBError(msg) from exc
    return answer.strip().lower() in {"y", "yes"}
