"""The release tags that are compared: those that were run, and what is said of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from vellum_nb.errors import APIError, InputError, NotFoundError
from vellum_nb.history import History
from vellum_nb.history.reading.records import Record

__all__ = ["check_tags", "nothing_run", "tags_run"]


def tags_run(deployment: str, records: Sequence[Record]) -> list[str]:
    """Return the release tags of these runs, in the order in which they were first run."""
    tags = list(dict.fromkeys(each.release_tag for each in reversed(records)))
    if not tags:
        msg = f"the history has no runs of {deployment}; run it first, on the tags to compare"
        raise InputError(msg)
    return tags


def nothing_run(
    history: History, deployment: str, tags: Sequence[str], since: datetime | str | None
) -> InputError:
    """Return the error for release tags that no case was run on."""
    known = dict.fromkeys(each.release_tag for each in history.records(deployment=deployment))
    when = "" if since is None else f" since {since}"
    archives = "; those in archives are not compared: history.unarchive(path) brings them back"
    return InputError(
        f"the history has no runs of {deployment} on {', '.join(tags)}{when}; "
        f"it has runs on: {', '.join(sorted(known)) or 'none'}"
        f"{'' if history.archives().empty else archives}"
    )


def check_tags(
    history: History,
    resolve: Callable[[str, str], object],
    deployment: str,
    tags: Sequence[str],
    records: Sequence[Record],
) -> None:
    """Raise for a tag that nothing was ever run on, and that the deployment does not have."""
    for tag in set(tags) - {each.release_tag for each in records}:
        if history.count(deployment=deployment, release_tag=tag, archived=True):
            continue
        try:
            resolve(deployment, tag)
        except NotFoundError as exc:
            msg = f"nothing was run on {tag}, so there is nothing to compare; {exc}"
            raise InputError(msg) from exc
        except APIError:
            return  # a server out of reach: what is stored is compared, the rest is missing
