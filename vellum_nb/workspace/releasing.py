"""What is deployed: deployments, releases, release tags, code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vellum_nb.comparison.code_diff import CodeDiff
from vellum_nb.errors import APIResponseError, VellumNBError
from vellum_nb.models import WorkflowDeploymentRelease, WorkflowReleaseTagRead
from vellum_nb.workspace.archives import texts_of
from vellum_nb.workspace.base import BaseWorkspace
from vellum_nb.workspace.frames import deployments_frame, releases_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ReleaseMethods"]


class ReleaseMethods(BaseWorkspace):
    """Reads and moves releases."""

    def deployments(self) -> pd.DataFrame:
        """Return one row a deployment, by name.

        Columns: `name`, `label`, `description`, `inputs`, `outputs` (as text, optional inputs
        with ``?``), `status`, `created` (UTC), `id`.
        """
        return deployments_frame(self._lookup.deployments())

    def releases(self, deployment: str) -> pd.DataFrame:
        """Return one row a release of `deployment`, newest first.

        Columns: `release_tags`, `description`, `inputs`, `outputs`, `created` (UTC), `release_id`.

        Raises
        ------
        NotFoundError
            There is no such deployment; the message lists those there are.
        """
        return releases_frame(self._lookup.releases(deployment))

    def move_tag(
        self,
        deployment: str,
        tag: str,
        to: str,
        *,
        confirm: bool = True,
    ) -> WorkflowReleaseTagRead:
        """Have the release tag `tag` point at another release, after a question.

        Everybody who runs `deployment` on this tag gets the other release from then on.

        Parameters
        ----------
        deployment : str
            The deployment's name.
        tag : str
            The release tag to move; it must be there.
        to : str
            Where to: a release tag, or a release id.
        confirm : bool, default True
            Whether to ask first. Any answer but yes leaves the tag where it is.

        Returns
        -------
        WorkflowReleaseTagRead
            The tag as it is now.

        Raises
        ------
        NotFoundError
            There is no such deployment, tag or release; the message lists those there are.
        VellumNBError
            There is nobody to ask.
        APIResponseError
            The server answers that the tag is elsewhere.

        Notes
        -----
        https://docs.vellum.ai/developers/client-sdk/workflow-deployments/update-workflow-release-tag
        """
        target = self._lookup.release(deployment, to)
        now = self._lookup.release(deployment, tag)
        if target.id == now.id:
            return self.client.retrieve_workflow_release_tag(deployment, tag)
        names = (_name(now, tag), _name(target, tag, to))
        if confirm and not _agreed(f"Move {tag} of {deployment} from {names[0]} to {names[1]}?"):
            return self.client.retrieve_workflow_release_tag(deployment, tag)
        moved = self.client.update_workflow_release_tag(deployment, tag, history_item_id=target.id)
        if (moved.name, moved.release_id) != (tag, target.id):
            msg = (
                f"{tag} of {deployment} was to move to {target.id}, but the server answers that "
                f"{moved.name} is at {moved.release_id}; look at ws.releases({deployment!r})"
            )
            raise APIResponseError(msg)
        return moved

    def code(self, deployment: str, release_tag: str = "LATEST") -> dict[str, str]:
        """Return the code of a release: path to text.

        Raises
        ------
        NotFoundError
            There is no such deployment or release tag; the message lists those there are.
        BadRequestError
            This release has no code that can be had; the message says why.

        Notes
        -----
        https://docs.vellum.ai/developers/client-sdk/workflows/pull
        """
        release = self._lookup.release(deployment, release_tag)
        id_ = release.deployment.id if release.deployment else deployment
        archive = self.client.pull(id_, release_tag=release_tag)
        return texts_of(archive, f"The code of {deployment} {release_tag}")

    def code_diff(self, deployment: str, old: str, new: str) -> CodeDiff:
        """Put the code of two releases side by side.

        Parameters
        ----------
        deployment : str
            The deployment's name.
        old, new : str
            The release tags.

        Returns
        -------
        CodeDiff
            Shows itself in a notebook; `text` is a unified diff.
        """
        before, after = self.code(deployment, old), self.code(deployment, new)
        return CodeDiff(deployment, old, new, before, after)


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
