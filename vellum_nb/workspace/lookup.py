"""Reads deployments, releases, tags, code and executions; errors list the known names."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from pathlib import PureWindowsPath
from typing import Any, TypeVar

from vellum_nb.client import Client
from vellum_nb.errors import (
    APIError,
    APIResponseError,
    APIStatusError,
    AuthenticationError,
    InputError,
    NotFoundError,
    VellumNBError,
)
from vellum_nb.lazy import pd
from vellum_nb.models import (
    Cancellation,
    RunError,
    SlimWorkflowDeployment,
    SlimWorkflowExecutionRead,
    VellumVariable,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowExecutionDetail,
    WorkflowReleaseTagRead,
    case_id,
    usage_totals,
)
from vellum_nb.models.checks import available
from vellum_nb.models.inputs import type_name

_T = TypeVar("_T")


def all_of(*conditions: tuple[str, str, str]) -> dict[str, Any]:
    """Return a filter of executions that combines `conditions` by AND.

    Each condition is a field, an operator and a value.
    """
    return {
        "type": "LOGICAL_CONDITION_GROUP",
        "combinator": "AND",
        "negated": False,
        "conditions": [
            {
                "type": "LOGICAL_CONDITION",
                "lhs_variable": {"type": "STRING", "value": field},
                "operator": operator,
                "rhs_variable": {"type": "STRING", "value": value},
            }
            for field, operator, value in conditions
        ],
    }


class Lookup:
    """Reads deployments, releases and release tags."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def deployments(self) -> list[SlimWorkflowDeployment]:
        """Return every deployment, by name."""
        return list(self._client.iter_workflow_deployments(ordering="name"))

    def deployment(self, name: str) -> WorkflowDeploymentRead:
        """Return the deployment called `name`."""
        return self._listing(partial(self._client.retrieve_workflow_deployment, name), name)

    def deployment_id(self, name: str) -> str | None:
        """Return the id of a deployment, or None if the key cannot read it."""
        with suppress(AuthenticationError):
            return self.deployment(name).id
        return None

    def release(self, name: str, tag: str) -> WorkflowDeploymentRelease:
        """Return the current release of `tag`."""
        read = self._client.retrieve_workflow_deployment_release
        return self._listing(partial(read, name, tag), name, tag)

    def readable_release(self, name: str, tag: str) -> WorkflowDeploymentRelease | None:
        """Return the current release of `tag`, or None if the key cannot read it."""
        try:
            return self.release(name, tag)
        except AuthenticationError as exc:
            if exc.status_code != HTTPStatus.FORBIDDEN:
                raise
            return None

    def releases(self, name: str) -> list[WorkflowDeploymentRelease]:
        """Return every release of `name`, newest first."""
        read = self._client.iter_workflow_deployment_releases
        return self._listing(lambda: list(read(name)), name)

    def tags(self, name: str) -> list[WorkflowReleaseTagRead]:
        """Return every release tag of `name`."""
        read = self._client.iter_workflow_release_tags
        return self._listing(lambda: list(read(name)), name)

    def code(self, name: str, tag: str, *, include_sandbox: bool | None = None) -> dict[str, str]:
        """Return path to source text of a release, with the cases of its sandbox if requested."""
        release = self.release(name, tag)
        id_ = release.deployment.id if release.deployment else name
        archive = self._client.pull(id_, release_tag=tag, include_sandbox=include_sandbox)
        texts = texts_of(archive, f"The code of {name} {tag}")
        if not include_sandbox:
            texts.pop("metadata.json", None)  # of the archive, not of the project
        return texts

    def _listing(self, read: Callable[[], _T], name: str, tag: str | None = None) -> _T:
        """Call `read`; the error for an unknown name lists the known names."""
        try:
            return read()
        except NotFoundError as exc:
            message, names = "", []
            with suppress(APIError):
                names = [deployment.name for deployment in self.deployments()]
                if name not in names:
                    message = f"There is no deployment {name!r}"
                elif tag is not None:
                    names = [t.name for t in self._client.iter_workflow_release_tags(name)]
                    message = f"{name} has no release tag {tag!r}"
            if not message:
                raise
            message += available(names)
            raise NotFoundError(message, status_code=exc.status_code, body=exc.body) from None


_PASSING = frozenset({401, 408, 425, 429})
_CUT_OFF = "WORKFLOW_CANCELLED"
_SETTLED: Mapping[str, Any] = {"error": None, "doubt": None}


class NoLookupError(Exception):
    """Executions cannot be looked up on this server, or with this key."""


def listed_execution(
    client: Client, deployment_id: str | None, external_id: str, cancel: Cancellation | None = None
) -> SlimWorkflowExecutionRead | None:
    """Return the execution with an external id, or None if the server does not list it.

    `deployment_id` is None if the key cannot read deployments. `NoLookupError`: the server or the
    key does not allow look-ups.
    """
    if deployment_id is None:
        msg = "executions cannot be looked up with this key"
        raise NoLookupError(msg)
    filters = all_of(("external_id", "==", external_id))
    try:
        page = client.list_workflow_deployment_event_executions(
            deployment_id, filters=filters, limit=1, cancel=cancel
        )
    except APIStatusError as exc:
        if exc.status_code >= 500 or exc.status_code in _PASSING:  # noqa: PLR2004
            raise
        raise NoLookupError(str(exc)) from exc
    if not page.results:
        return None
    execution = page.results[0]
    context = execution.parent_context
    if context is None or context.external_id != external_id:
        msg = "the server answers a look-up by external id with another execution"
        raise NoLookupError(msg)
    return execution


def ended(state: str, outputs: Sequence[Any], error: Any) -> dict[str, Any]:
    """Return the fields of the run for the outcome of an execution.

    The run of an aborted execution is CANCELLED without an answer, and no longer in doubt.
    """
    if state == "FULFILLED":
        return {
            **_SETTLED,
            "state": "FULFILLED",
            "outputs": {output.name: output.value for output in outputs},
            "output_types": {output.name: output.type for output in outputs},
        }
    if state == "REJECTED":
        code = error.code if error else "INTERNAL_SERVER_ERROR"
        message = error.message if error else "the server gave no reason"
        run_state = "CANCELLED" if code == _CUT_OFF else "REJECTED"
        return {**_SETTLED, "state": run_state, "error": RunError(code=code, message=message)}
    message = f"the server answered with the state {state!r}, which is not an end state"
    error = RunError(code="BAD_RESPONSE", message=message)
    return {**_SETTLED, "state": "FAILED", "error": error}


def run_fields(execution: SlimWorkflowExecutionRead | WorkflowExecutionDetail) -> dict[str, Any]:
    """Return the fields of the run for an ended execution."""
    context, took = execution.parent_context, execution.duration_s
    fields: dict[str, Any] = {
        "execution_id": execution.execution_id,
        "finished_at": execution.end,
        "latency_s": None if took is None else round(took, 6),
        **usage_totals(execution.usage_results),
        **ended(execution.status, execution.outputs, execution.error),
    }
    if context is not None and context.deployment_history_item_id:
        fields["release_id"] = context.deployment_history_item_id
    return fields


def case_of(
    execution: SlimWorkflowExecutionRead | WorkflowExecutionDetail,
    previous_execution_id: str | None = None,
) -> str:
    """Return the case id of an execution; Vellum does not report its previous execution."""
    inputs = {item.name: item.value for item in execution.inputs}
    try:
        return case_id(inputs, previous_execution_id)
    except ValueError:  # canonical JSON excludes NaN
        return case_id({"": json.dumps(inputs, sort_keys=True)}, previous_execution_id)


def deployments_frame(deployments: Iterable[SlimWorkflowDeployment]) -> pd.DataFrame:
    """Return one row per deployment."""
    columns = ("name", "label", "description", "inputs", "outputs", "status", "created", "id")
    rows = []
    for item in deployments:
        variables = _signature(item.input_variables), _signature(item.output_variables)
        texts = (item.name, item.label, item.description or "", *variables, item.status or "")
        rows.append((*texts, item.created, item.id))
    return _frame(rows, columns)


def releases_frame(releases: Iterable[WorkflowDeploymentRelease]) -> pd.DataFrame:
    """Return one row per release, with the digest of its image if any has one."""
    columns = ("release_tags", "description", "inputs", "outputs", "created", "release_id", "image")
    rows = []
    for item in releases:
        version, tags = item.workflow_version, ", ".join(tag.name for tag in item.release_tags)
        variables = _signature(version.input_variables), _signature(version.output_variables)
        image = version.container_image or ""
        rows.append((tags, item.description or "", *variables, item.created, item.id, image))
    frame = _frame(rows, columns)
    return frame if frame["image"].any() else frame.drop(columns="image")


def _frame(rows: list[tuple[Any, ...]], columns: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(columns))
    frame["created"] = pd.to_datetime(frame["created"], utc=True).astype("datetime64[us, UTC]")
    return frame.astype({column: "str" for column in frame if column != "created"})


def cases_frame(texts: Mapping[str, str], where: str) -> pd.DataFrame:
    """Return the cases of a pulled project as a DataFrame."""
    rows = json.loads(texts.get("dataset.json", "[]"))
    if not rows:
        msg = (
            f"{where} has no cases: push a project whose sandbox.py has a dataset, with "
            "vellum workflows push --deploy"
        )
        raise InputError(msg)
    cases = []
    for row in rows:
        inputs = {f"input.{name}": value for name, value in row["inputs"].items()}
        mocks = {"mocks": row["mocks"]} if row.get("mocks") else {}
        cases.append({"label": row.get("label", ""), **inputs, **mocks})
    return pd.DataFrame(cases)


def _signature(variables: Iterable[VellumVariable]) -> str:
    """Return variables in one line, with a question mark for optional ones."""
    return ", ".join(f"{v.key}{'' if v.is_required else '?'}: {type_name(v)}" for v in variables)


_MOST_BYTES = 64 * 2**20


def texts_of(archive: bytes, title: str) -> dict[str, str]:
    """Return path to text, sorted by path; binary files are replaced by their size.

    `APIResponseError`: it is not a ZIP archive, exceeds 64 MiB, or has paths that lead out of the
    target folder.
    """
    texts: dict[str, str] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            members = [info for info in files.infolist() if not info.is_dir()]
            size = sum(info.file_size for info in members)
            for info in members if size <= _MOST_BYTES else ():
                with files.open(info) as file:  # never read more than the announced size
                    content = file.read(info.file_size + 1)
                try:
                    texts[info.filename] = content.decode("utf-8").replace("\r\n", "\n")
                except UnicodeDecodeError:
                    texts[info.filename] = f"({len(content)} bytes that are not text)\n"
    except Exception as exc:  # zipfile raises various types
        msg = f"{title} is not a readable ZIP archive: {exc}"
        raise APIResponseError(msg) from exc
    if size > _MOST_BYTES:
        msg = f"{title} is an archive of more than {_MOST_BYTES >> 20} MiB; it was not read"
        raise APIResponseError(msg)
    for path in texts:
        windows = PureWindowsPath(path)  # parses both kinds of slashes
        if windows.anchor or ".." in windows.parts:
            msg = f"{title} has paths that lead out of its folder, {path!r:.60}; it was not read"
            raise APIResponseError(msg)
    return dict(sorted(texts.items()))


def move_tag(
    client: Client, lookup: Lookup, deployment: str, tag: str, to: str, *, confirm: bool
) -> WorkflowReleaseTagRead:
    """Point the release tag `tag` at another release, after a confirmation."""
    target, now = lookup.release(deployment, to), lookup.release(deployment, tag)
    may_move = target.id != now.id
    if may_move and confirm:
        places = []
        for release in (now, target):
            names = sorted((t.name for t in release.release_tags), key=to.__ne__)
            places.append(next((n for n in names if n not in {tag, "LATEST"}), release.id))
        question = f"Move {tag} of {deployment} from {' to '.join(places)}?"
        try:
            answer = input(f"{question} [y/N] ")
        except (EOFError, OSError, RuntimeError) as exc:  # no terminal, or no input in the kernel
            msg = f"{question} It cannot be confirmed here: pass confirm=False. It was not moved."
            raise VellumNBError(msg) from exc
        may_move = answer.strip().lower() in {"y", "yes"}
    if not may_move:
        return client.retrieve_workflow_release_tag(deployment, tag)
    moved = client.update_workflow_release_tag(deployment, tag, history_item_id=target.id)
    if (moved.name, moved.release_id) != (tag, target.id):
        msg = (
            f"{tag} of {deployment} was not moved to {target.id}: the server reports {moved.name} "
            f"on {moved.release_id}; see ws.releases({deployment!r})"
        )
        raise APIResponseError(msg)
    return moved
