"""The release tags that are compared: those that were run, and what is said of others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from datetime import datetime

from vellum_nb.errors import APIError, InputError, NotFoundError
from vellum_nb.history import History
from vellum_nb.history.keeping.archived_tags import KnownTags
from vellum_nb.history.reading.records import Record

__all__ = ["check_tags", "nothing_run", "tags_run"]

_ALSO = "archived=True compares them, too"


def tags_run(records: Sequence[Record]) -> list[str]:
    """Return the release tags of these runs, in the order in which they were first run."""
    return list(dict.fromkeys(each.release_tag for each in reversed(records)))


def nothing_run(
    history: History,
    resolve: Callable[[str, str], object],
    deployment: str,
    tags: Sequence[str] | None,
    since: datetime | str | None,
    *,
    archived: bool,
) -> InputError:
    """Return the error for release tags that no case was run on; None means any."""
    known = history.known_tags(deployment)
    if not (known.here or known.archived or known.unread):
        _check_name(resolve, deployment)
    on = "" if tags is None else f" on {', '.join(tags)}"
    when = "" if since is None else f" since {since}"
    there_are = f"it has runs on: {_listed(known.here)}"
    if tags is None and not known.here:
        there_are = "run it first, on the tags to compare"
    elsewhere = f"; in archives it has runs on: {_listed(known.archived)}" if known.archived else ""
    also = f"; {_ALSO}" if elsewhere and not archived else ""
    return InputError(
        f"the history has no runs of {deployment}{on}{when}; "
        f"{there_are}{elsewhere}{also}{_unread(known)}"
    )


def check_tags(
    history: History,
    resolve: Callable[[str, str], object],
    deployment: str,
    tags: Sequence[str],
    records: Sequence[Record],
    *,
    archived: bool,
) -> None:
    """Raise for a tag that nothing was ever run on, and that the deployment does not have.

    Warn of one whose runs are all in archives, where these are not meant.
    """
    without = set(tags) - {each.release_tag for each in records}
    if not without:
        return
    known = history.known_tags(deployment)
    elsewhere = without & known.archived - known.here
    if elsewhere and not archived:
        told = f"all runs of {deployment} on {_listed(elsewhere)} are in archives; {_ALSO}"
        warnings.warn(told, UserWarning, stacklevel=4)
    for tag in without - known.here - known.archived:
        try:
            resolve(deployment, tag)
        except NotFoundError as exc:
            msg = f"nothing was run on {tag}, so there is nothing to compare; {exc}{_unread(known)}"
            raise InputError(msg) from exc
        except APIError:
            return  # a server out of reach: what is stored is compared, the rest is missing


def _listed(tags: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(tags)) or "none"


def _unread(known: KnownTags) -> str:
    return "".join(f"; the archive {path} could not be looked into" for path in known.unread)


def _check_name(resolve: Callable[[str, str], object], deployment: str) -> None:
    """Raise for a deployment without runs that is not there: its name may be mistyped."""
    try:
        resolve(deployment, "LATEST")
    except NotFoundError as exc:
        msg = f"the history has no runs of {deployment}, so there is nothing to compare; {exc}"
        raise InputError(msg) from exc
    except APIError:
        return  # a server out of reach: that there are no runs is told
