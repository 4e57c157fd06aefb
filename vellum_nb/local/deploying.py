"""What is deployed on a local server, and under which tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.deployments.releases import Declared, Target, build
from vellum_nb.local.routes import views
from vellum_nb.models import WorkflowDeploymentRelease

__all__ = ["Deploying"]


class Deploying:
    """The part of a local server that has to do with its registry."""

    _registry: Registry
    _memory_limit: int | None

    def deploy(
        self,
        target: Target,
        *,
        name: str | None = None,
        release_tags: Sequence[str] = (),
        description: str | None = None,
        label: str | None = None,
        release_id: str | None = None,
        entry: str | None = None,
        isolation: Literal["kernel", "process"] = "kernel",
        memory_limit: int | None = None,
        env: Sequence[str] = (),
        source: str | None = None,
        declared: Declared | None = None,
    ) -> WorkflowDeploymentRelease:
        """Make a new release of `target`; LATEST and `release_tags` move to it.

        Parameters
        ----------
        target : callable, Workflows SDK class or Path
            A function, async function, (async) generator, bound method, or object that can be
            called; its signature gives the input variables. A Path of a project folder (as
            ``vellum workflows pull`` makes it) or of a ``.py`` file is copied: the release stays
            what it is when the file changes, and a restart with `data` finds it again.
        name, label : str, optional
            The deployment, and how it is shown. Default: the function's or folder's name with
            hyphens; of a class ``MyFlow`` it is ``my-flow``.
        release_tags : sequence of str
            Tags to put on the new release.
        description : str, optional
            What is new in this release.
        release_id : str, optional
            A UUID that makes the same code the same release in every process. Default: a new one.
        entry : str, optional
            Which function or class of a Path, as ``name`` or ``module:name``. Default: the only
            one of ``workflow.py``.
        isolation : {"kernel", "process"}
            ``"process"``: each run of a Path gets a process of its own, which a time limit or
            cancelling ends for certain; a crash rejects the run.
        memory_limit : int, optional
            Bytes of address space of such a process, Python's own part of about 200 MiB included.
            Default: the server's.
        env : sequence of str
            Names of environment variables that such a process gets. It gets no keys but these.
        source : str, optional
            The text of a module that defines `target`, where it is nowhere on disk: a cell. The
            release is loaded from it, unless it uses names that it neither defines nor imports.
        declared : Declared, optional
            What a Path declares, where it is known: it is not imported before its first run then.

        Raises
        ------
        VellumNBError
            When the name, a tag, the signature or the source will not do; the message says why.

        Examples
        --------
        >>> from vellum_nb.local import LocalServer
        >>> text = "def shout(text: str) -> str: return text.upper()"
        >>> exec(text)
        >>> release = LocalServer().deploy(shout, source=text, isolation="process")
        >>> release.workflow_version.input_variables[0].key
        'text'
        """
        if isolation == "process" and memory_limit is None:
            memory_limit = self._memory_limit
        made = build(
            target,
            self._registry.snapshots,
            entry=entry,
            isolation=isolation,
            memory_limit=memory_limit,
            env=env,
            source=source,
            declared=declared,
        )
        deployment, release = self._registry.deploy(
            made,
            name=name,
            release_tags=release_tags,
            description=description,
            label=label,
            release_id=release_id,
        )
        return views.release_read(deployment, release)

    def move_tag(self, name: str, tag: str, release: str) -> WorkflowDeploymentRelease:
        """Put the tag `tag` of the deployment `name` on another release; a new tag is made.

        Parameters
        ----------
        name, tag : str
            The deployment and the tag.
        release : str
            A release's id, or a tag that is on it.
        """
        deployment = self._registry.move_tag(name, tag, release)
        return views.release_read(deployment, self._registry.release(deployment, tag))
