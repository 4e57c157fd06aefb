"""Routes that exchange code: `pull` and `push` of the official command line.

A pushed project is stored as a sandbox and, with a deployment config, released. Its module name,
cases of `sandbox.py` and container image are stored with it.
"""

from __future__ import annotations

import difflib
import gzip
import io
import json
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from pydantic import BaseModel, ConfigDict, Field, RootModel
from pydantic import Json as JsonText
from typing_extensions import TypedDict

from vellum_nb.local.deployments.registry import (
    LATEST,
    Deployment,
    Registry,
    Release,
    build,
    release_read,
    source_of,
)
from vellum_nb.local.deployments.sources import (
    MAX_BYTES,
    MAX_FILES,
    CodeUnavailableError,
    check_files,
)
from vellum_nb.local.engine.events import to_json
from vellum_nb.local.isolation.process import DEFAULT_MEMORY_LIMIT, Isolation
from vellum_nb.local.isolation.workflow_server import image_name, process_options
from vellum_nb.local.ledger import Ledger
from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes.common import Id, Served, new_router
from vellum_nb.models.base import Model

router: APIRouter = new_router()
_DATASET = "dataset.json"
_METADATA = "metadata.json"
_PULLED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
            "text/plain": {"schema": {"type": "string"}},
        },
        "description": "The files, as an archive or, if text/plain is accepted, as one text.",
    }
}
Json = Mapping[str, Any]


class PullOptions(BaseModel):
    """Options of a pull."""

    release_tag: Annotated[str | None, Field(min_length=1, description="Default: LATEST.")] = None
    exclude_code: bool = False
    exclude_display: bool = False
    include_json: Annotated[bool, Field(description="Adds the release as workflow.json.")] = False
    include_sandbox: Annotated[
        bool, Field(description="Adds the cases of a pushed project as dataset.json.")
    ] = False
    strict: Annotated[bool, Field(description="Ignored.")] = False
    version: Annotated[str | None, Field(description="Ignored.")] = None


class Pushed(Model):
    """Stored metadata of a push."""

    module: str
    snapshot: str
    sandbox_id: str
    label: str | None = None
    dataset: tuple[Json, ...] = ()
    runner_config: Json = Field(default_factory=dict)


class DeploymentConfig(Model):
    """Options to release a pushed project."""

    name: str | None = None
    label: str | None = None
    description: str | None = None
    release_tags: tuple[str, ...] = ()
    release_description: str | None = None


class WorkflowPushResponse(Model):
    """Answer of a push."""

    workflow_sandbox_id: str
    workflow_deployment_id: str | None = None
    proposed_diffs: Json | None = None


@router.get("/v1/workflows/{id}/pull", response_class=Response, responses=_PULLED)
def pull(
    request: Request, state: Served, id_: Id, options: Annotated[PullOptions, Query()]
) -> Response:
    """Pull the code of a release, by id or name of the deployment, or of a sandbox."""
    pushed = _pushed(state.ledger, id_)
    extra: dict[str, str] = {}
    if pushed is not None:
        files, metadata = _sandbox_texts(state.registry, pushed), _metadata(pushed)
    else:
        deployment = state.registry.get(id_)
        release = deployment.release(options.release_tag or LATEST)
        pushed = _pushed(state.ledger, release.id)
        files = {} if options.exclude_code else dict(source_of(deployment, release))
        names = {"label": deployment.label, "deployment_name": deployment.name}
        ids = {"deployment_history_item_id": release.id, "workflow_version_id": release.version_id}
        metadata = {**_metadata(pushed), **names, "deployment_id": deployment.id, **ids}
        definition = release_read(deployment, release).model_dump(by_alias=True)
        extra = {"workflow.json": _indented(definition)}
    if options.exclude_display:
        files = {path: text for path, text in files.items() if "display" not in path.split("/")}
    if options.include_json:
        files |= extra
    if options.include_sandbox and pushed is not None and pushed.dataset:
        files[_DATASET] = to_json(list(pushed.dataset))
    if "text/plain" in request.headers.get("accept", ""):
        text = "\n".join(f"# {path}\n{text}" for path, text in sorted(files.items()))
        return Response(text.encode("utf-8", "replace"), media_type="text/plain")
    files[_METADATA] = _indented(metadata)
    return Response(_zip(files), media_type="application/zip")


def _indented(content: Json) -> str:
    return json.dumps(json.loads(to_json(content)), indent=2) + "\n"


def _zip(files: Mapping[str, str]) -> bytes:
    """Return an archive with reproducible bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in sorted(files.items()):
            content = text.encode("utf-8", "surrogatepass")
            archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


class ExecConfig(Model):
    """Relevant part of the execution config of a project."""

    runner_config: dict[str, Any] | None = None


class Row(TypedDict, total=False):
    """A case of a project; other fields are stored unchanged."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    mocks: list[dict[str, Any]] | None


class Dataset(RootModel[list[Row]]):
    """Cases of a project; FastAPI treats a bare list as a repeated form field."""


@router.post("/v1/workflows/push")
def push(
    state: Served,
    artifact: Annotated[UploadFile, File(description="The module, as tar.gz.")],
    *,
    exec_config: Annotated[JsonText[ExecConfig] | None, Form()] = None,
    workflow_sandbox_id: Annotated[str | None, Form(max_length=60)] = None,
    deployment_config: Annotated[JsonText[DeploymentConfig] | None, Form()] = None,
    dataset: Annotated[JsonText[Dataset] | None, Form()] = None,
    dry_run: Annotated[bool, Form(description="Store nothing, return the differences.")] = False,
    strict: Annotated[bool, Form(description="Ignored.")] = False,  # noqa: ARG001
) -> WorkflowPushResponse:
    """Store the code of a project as a sandbox and, with a deployment config, release it."""
    config = deployment_config
    old = _pushed(state.ledger, workflow_sandbox_id) if workflow_sandbox_id else None
    if workflow_sandbox_id and old is None:
        raise Refused(404, f"There is no workflow sandbox {workflow_sandbox_id!r:.60}")
    module = PurePath(artifact.filename or "workflow").name.partition(".")[0].replace("__", ".")
    files = _unpacked(artifact, module)
    sandbox_id = old.sandbox_id if old else str(uuid.uuid4())
    if dry_run:
        diffs = _differences(_sandbox_texts(state.registry, old), files) if old else None
        return WorkflowPushResponse(workflow_sandbox_id=sandbox_id, proposed_diffs=diffs)
    rows = dataset.root if dataset else []
    for row in rows:  # node ids of mocks depend on the module name
        row["mocks"] = [{"module": module, **mock} for mock in row.get("mocks") or ()]
    pushed = Pushed(
        module=module,
        snapshot=state.registry.snapshots.add(files).package,
        sandbox_id=sandbox_id,
        label=config.label if config else None,
        dataset=tuple(rows),
        runner_config=(exec_config and exec_config.runner_config) or {},
    )
    ids, deployed = [sandbox_id], None
    if config is not None:
        deployment, release = _deployed(state.registry, files, pushed, config)
        ids, deployed = [sandbox_id, release.id], deployment.id
    for id_ in ids:
        content = pushed.model_dump_json().encode()
        state.ledger.add_file(module, content, media_type="application/json", id_=f"push-{id_}")
    return WorkflowPushResponse(workflow_sandbox_id=sandbox_id, workflow_deployment_id=deployed)


def _deployed(
    registry: Registry, files: Mapping[str, bytes], pushed: Pushed, config: DeploymentConfig
) -> tuple[Deployment, Release]:
    """Release the code, in the image of the project or in the kernel."""
    process = None
    if image := image_name(pushed.runner_config):
        limit = DEFAULT_MEMORY_LIMIT
        isolation = Isolation("container", memory_limit=limit, image=image)
        process = process_options(isolation, files)
    return registry.deploy(
        build(files, registry.snapshots, process),
        name=config.name or pushed.module.rpartition(".")[2].replace("_", "-"),
        release_tags=config.release_tags,
        description=config.release_description or config.description,
        label=config.label,
    )


def _unpacked(artifact: UploadFile, module: str) -> dict[str, bytes]:
    """Return the regular files of a tar.gz."""
    files: dict[str, bytes] = {}
    size = 0
    msg = f"The artifact has more than {MAX_FILES:,} files or {MAX_BYTES:,} bytes"
    try:
        with gzip.open(artifact.file) as reader:
            unpacked = reader.read(2 * MAX_BYTES)
        if len(unpacked) == 2 * MAX_BYTES:  # headers count: tarfile reads them into memory
            raise Refused(400, msg)
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            for member in archive:
                size += member.size
                if size > MAX_BYTES or len(files) >= MAX_FILES:
                    raise Refused(400, msg)
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    files[member.name] = content.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RecursionError) as exc:
        raise Refused(400, f"The artifact is not a tar.gz archive: {exc}") from None
    return check_files(files, f"The module {module}")


def _differences(before: Mapping[str, str], files: Mapping[str, bytes]) -> Json | None:
    """Return the changes of a push as unified diffs by path, or None."""
    after = {path: content.decode("utf-8", "replace") for path, content in files.items()}
    diffs: dict[str, list[str]] = {}
    for path in sorted({*before, *after}):
        old, new = (texts.get(path, "").splitlines() for texts in (before, after))
        if before.get(path) != after.get(path):
            diff = difflib.unified_diff(old, new, f"a/{path}", f"b/{path}", lineterm="")
            diffs[path] = list(diff)
    return diffs or None


def _pushed(ledger: Ledger, id_: str) -> Pushed | None:
    file = ledger.file(f"push-{id_}")
    return None if file is None else Pushed.model_validate_json(file.content)


def _sandbox_texts(registry: Registry, pushed: Pushed) -> dict[str, str]:
    try:
        return dict(registry.snapshots.get(pushed.snapshot).texts())
    except CodeUnavailableError as exc:
        msg = f"The code of this sandbox cannot be read ({exc}); push it again"
        raise Refused(404, msg) from exc


def _metadata(pushed: Pushed | None) -> dict[str, Any]:
    if pushed is None:
        return {}
    names = ("container_image_name", "container_image_tag")
    return {
        "label": pushed.label or pushed.module.rpartition(".")[2],
        "workflow_sandbox_id": pushed.sandbox_id,
        "runner_config": {name: pushed.runner_config.get(name) for name in names},
    }
