"""Explicit checks: where a wrong kind does harm, a sentence names the argument and its value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from vellum_nb import Client
from vellum_nb.errors import HistoryError, InputError, VellumNBError
from vellum_nb.models.checks import check_integer, check_text, check_texts, refuse


class Broken:
    def __repr__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda: check_text("tag", 3), "tag=3 does not fit: give a text"),
        (lambda: check_text("tag", b"", optional=True), "tag=b'' does not fit: give a text or"),
        (lambda: check_integer("limit", -1), "limit=-1 does not fit: give a whole number of at"),
        (lambda: check_integer("limit", None), "limit=None does not fit"),
        (lambda: check_integer("limit", "5", optional=True), "at least 0 or None"),
        (lambda: check_integer("limit", True), "limit=True does not fit"),  # noqa: FBT003
        (lambda: check_texts("tags", "v1"), "tags='v1' does not fit: give a list of texts"),
        (lambda: check_texts("tags", ["v1", 2]), "tags=2 does not fit: give a text"),
        (lambda: check_texts("tags", pd.DataFrame({"a": [1, 2]})), "tags=<DataFrame> does not"),
        (lambda: check_text("tag", Broken()), "tag=<Broken> does not fit"),  # type: ignore[arg-type]
        (lambda: refuse("url", ["http://u:pw@host"], "a text"), "url=<list> does not fit"),
        (lambda: refuse("api_key", 5, "a text"), "api_key=<int> does not fit"),
    ],
)
def test_a_wrong_kind_is_refused_in_a_sentence(check: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        check()
    assert said in str(caught.value)


def test_each_room_has_its_own_error() -> None:
    with pytest.raises(HistoryError):
        check_text("path", 5, error=HistoryError)


def test_what_numpy_and_pandas_have_of_a_kind_fits() -> None:
    check_text("tag", np.str_("v1"))
    check_integer("limit", np.int64(5))
    assert check_texts("tags", pd.Series(["v1", "v2"])) == ["v1", "v2"]
    assert check_texts("tags", (tag for tag in ("v1",))) == ["v1"]


@pytest.fixture
def client() -> Any:
    with Client(api_key="k", base_url="http://127.0.0.1:9") as made:
        yield made


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.retrieve_workflow_deployment(5),
        lambda client: client.retrieve_workflow_release_tag("w", b"v1"),
        lambda client: client.workflow_execution_status(None),
        lambda client: client.list_workflow_deployments(limit=1.5),
        lambda client: client.list_workflow_release_tags("w", offset=[1]),
        lambda client: client.execute_workflow(5),
        lambda client: client.execute_workflow("text"),
        lambda client: client.execute_workflow([5]),
        lambda client: client.execute_workflow([], metadata={"a": object()}),
        lambda client: client.execute_workflow([], external_id=object()),
        lambda client: client.execute_workflow_stream([], event_types="WORKFLOW"),
        lambda client: client.submit_workflow_execution_actuals({"quality": 1}),
        lambda client: client.submit_workflow_execution_actuals(5),
        lambda client: client.submit_workflow_execution_actuals([5]),
        lambda client: client.deploy_workflow("w", release_tags="v1"),
        lambda client: client.upload_file("text"),
        lambda client: client.upload_file(b"", filename=5),
        lambda client: client.pull("w", strict=2.5),
        lambda _: Client(api_key=b"hunter2"),
        lambda _: Client(api_key="k", base_url=5),
        lambda _: Client(api_key="k", api_version="2025\n07"),
        lambda _: Client(api_key="k", timeout="5"),
        lambda _: Client(api_key="k", timeout=(1, 2, 3)),
        lambda _: Client(api_key="k", timeout=float("inf")),
    ],
)
def test_a_client_refuses_what_would_do_harm_before_anything_is_sent(
    client: Client, call: Any
) -> None:
    with pytest.raises(VellumNBError) as caught:
        call(client)
    assert not hasattr(caught.value, "sent")
    assert "hunter2" not in str(caught.value)
