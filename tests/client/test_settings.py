"""Key, addresses, timeouts and names of a client."""

import inspect
import math

import pytest

from vellum_nb.client import Client
from vellum_nb.errors import APIConnectionError, InputError, VellumNBError
from vellum_nb.models import ExpandMeta, WorkflowInput

IDENTITY = {"name": "production"}
VELLUM = ("https://api.vellum.ai", "https://predict.vellum.ai")
PREDICT = {"VELLUM_PREDICT_API_URL": "https://p"}


def sent_key(server, **options):
    server.will(server.reply(200, IDENTITY))
    with Client(base_url=server.url, **options) as client:
        client.environment_identity()
    return str(server.seen[-1].headers["x-api-key"])


def test_key_is_read_from_argument_environment_or_prompt(server, monkeypatch):
    with pytest.raises(VellumNBError) as caught:
        Client()
    for way in ("api_key=...", "VELLUM_API_KEY", 'api_key="ask"'):
        assert way in str(caught.value)
    monkeypatch.setenv("VELLUM_API_KEY", "from-environment")
    monkeypatch.setattr("vellum_nb.client.settings.getpass", lambda _: "typed")
    assert sent_key(server, api_key="from-argument") == "from-argument"
    assert sent_key(server) == "from-environment"
    assert sent_key(server, api_key="ask") == "typed"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("secret\n", "character 7 of 7 is a line break"),
        ("secret\r\nX-Evil: 1", "a line break"),
        (" secret", "character 1 of 7 is a space"),
        ("sécret", "character 2 of 6 is not a plain ASCII character"),
        ("secret\x00", "not a plain ASCII character"),
    ],
)
def test_invalid_key_is_refused_without_showing_it(key, said):
    with pytest.raises(VellumNBError) as caught:
        Client(api_key=key)
    assert said in str(caught.value)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "predict_url", "environment", "expected"),
    [
        (None, None, {}, VELLUM),
        ("https://api.vellum.ai/", None, {}, VELLUM),
        ("https://a/b/", None, {}, ("https://a/b", "https://a/b")),
        ("https://a", "https://p/", {}, ("https://a", "https://p")),
        (None, None, {"VELLUM_API_URL": "https://e/"}, ("https://e", "https://e")),
        (None, None, {"VELLUM_API_URL": "https://e"} | PREDICT, ("https://e", "https://p")),
        ("https://a", None, PREDICT, ("https://a", "https://a")),
    ],
)
def test_addresses_are_read_from_arguments_before_the_environment(
    base_url, predict_url, environment, expected, monkeypatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Client(api_key="k", base_url=base_url, predict_url=predict_url) as client:
        assert (client.base_url, client.predict_url) == expected
        assert repr(client) == f"<Client {expected[0]}>"


@pytest.mark.parametrize(
    "url",
    [
        *("vellum.ai", "ftp://a", "http://", "http://a?b=1", "http://a:99999", "http://[x"),
        *("http://u:pw@a", "ftp://u:pw@a", "u:pw@a", "http://é℀.example", "http://x\n.example"),
    ],
)
def test_invalid_address_is_refused(url):
    with pytest.raises(VellumNBError) as caught:
        Client(api_key="k", base_url=url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, (5, 0), math.nan, "5"])
def test_invalid_timeout_is_refused(timeout):
    with pytest.raises(VellumNBError, match="above 0, or None|must be a number"):
        Client(api_key="k", timeout=timeout)


@pytest.mark.parametrize("timeout", [None, 5, (None, 5), (5, None)])
def test_timeout_can_be_none(server, timeout):
    assert sent_key(server, api_key="k", timeout=timeout) == "k"


@pytest.mark.parametrize("option", ["max_connections", "max_tries", "max_reply_bytes"])
@pytest.mark.parametrize("value", [0, -1, "5", 1.5, True])
def test_invalid_limit_is_refused(option, value):
    with pytest.raises(InputError, match=f"{option} must be a whole"):
        Client(api_key="k", **{option: value})


@pytest.mark.parametrize(
    ("name", "segment"),
    [("a/b", "a%2Fb"), ("a b?#%", "a%20b%3F%23%25"), ("é", "%C3%A9"), ("a..b", "a..b")],
)
def test_names_are_percent_encoded(server, client, name, segment):
    server.will(server.reply(200, {"name": "t"}))
    client.retrieve_workflow_release_tag(name, name)
    expected = f"/v1/workflow-deployments/{segment}/release-tags/{segment}"
    assert server.seen[0].target == expected


@pytest.mark.parametrize("name", ["", ".", "..", "\ud800", None, 5])
def test_invalid_name_is_refused(server, client, name):
    with pytest.raises(InputError, match="cannot name a deployment|must be "):
        client.retrieve_workflow_deployment(name)
    assert server.seen == []


def test_inputs_are_sent_as_compact_utf8(server, client, fulfilled):
    server.will(server.reply(200, fulfilled))
    typed = [WorkflowInput(name=name, type="STRING", value="é") for name in "qj"]
    client.execute_workflow(
        typed, workflow_deployment_name="w", expand_meta=ExpandMeta(cost=True), metadata={"a": None}
    )
    assert server.seen[0].body.decode() == (
        '{"inputs":[{"name":"q","type":"STRING","value":"é"},{"name":"j","type":"STRING","value":"é"}],'
        '"expand_meta":{"cost":true},"workflow_deployment_name":"w","metadata":{"a":null}}'
    )


@pytest.mark.parametrize(
    ("call", "options", "problem"),
    [
        (
            ("execute_workflow", {}),
            {"workflow_deployment_name": 5},
            "must be a text or None, not 5",
        ),
        (("execute_workflow_async", {}), {"external_id": 5}, "must be a text or None, not 5"),
        (("execute_workflow_stream", {}), {"metadata": 5}, "must be a dict or None, not 5"),
        (("execute_workflow", {}), {"expand_meta": [1]}, r"must be a dict or None, not \[1\]"),
        (("execute_stream", "w"), {"inputs": "hi"}, "must be a dict or None, not 'hi'"),
        (("execute_stream", "w"), {"trigger": 5}, "must be a text or None, not 5"),
        (("submit_workflow_execution_actuals", []), {"external_id": 5}, "must be a text or None"),
        (("update_workflow_release_tag", "w", "v1"), {"history_item_id": 5}, "must be a text or"),
        (("deploy_workflow", "w"), {"label": 5}, "must be a text or None, not 5"),
        (("list_workflow_deployments",), {"limit": "x"}, "must be a whole number of at least 0"),
        (("list_workflow_release_tags", "w"), {"offset": -1}, "must be a whole number of at least"),
        (
            ("retrieve_workflow_execution_detail", "e"),
            {"span_limit": 1.5},
            "must be a whole number",
        ),
        (("retrieve_uploaded_file", "f"), {"expiry_seconds": "x"}, "must be a whole number"),
    ],
)
def test_an_option_of_a_wrong_type_is_refused_by_name(server, client, call, options, problem):
    with pytest.raises(InputError, match=f"{next(iter(options))} {problem}"):
        getattr(client, call[0])(*call[1:], **options)
    assert server.seen == []


@pytest.mark.parametrize("method", ["execute_workflow", "execute_workflow_async"])
def test_unknown_option_of_an_execution_is_a_type_error(server, client, method):
    with pytest.raises(TypeError, match="'relase_tag'; available: .*release_tag"):
        getattr(client, method)({}, workflow_deployment_name="w", relase_tag="v1")
    assert server.seen == []


def test_signature_of_an_execution_has_its_options():
    parameters = inspect.signature(Client.execute_workflow).parameters
    assert {"workflow_deployment_name", "release_tag", "metadata", "expand_meta"} <= set(parameters)
    assert "options" not in parameters


@pytest.mark.parametrize("value", [math.nan, "\ud800", object(), {1, 2}])
def test_value_that_is_not_json_is_never_sent(server, client, value):
    typed = [{"name": "q", "type": "JSON", "value": value}]
    for inputs in (typed, {"q": value}):
        with pytest.raises(InputError, match="nothing was sent"):
            client.execute_workflow(inputs, workflow_deployment_name="w")
    with pytest.raises(InputError):
        client.execute_workflow([], workflow_deployment_name="w", metadata={"q": value})
    assert server.seen == []


def test_lists_are_read_page_by_page_without_following_links(server, client):
    link = "http://other.example/v1/workflow-deployments?offset=2"
    a, b, c = ({"id": name, "name": name} for name in "abc")
    pages = [{"count": 3, "next": link, "results": [a, b]}, {"count": 3, "results": [c]}]
    server.will(*(server.reply(200, page) for page in pages))
    names = [each.name for each in client.iter_workflow_deployments(ordering="name")]
    assert names == ["a", "b", "c"]
    assert {seen.headers["x-api-version"] for seen in server.seen} == {"2025-07-30"}
    asked = [seen.target.partition("?")[2] for seen in server.seen]
    assert asked == ["ordering=name", "offset=2&ordering=name"]


@pytest.mark.parametrize(
    "page",
    [
        {"count": 9, "results": []},
        {"results": [{"id": "1", "name": "a"}]},
        {"count": 1, "next": "x"},
    ],
)
def test_list_with_a_wrong_count_ends(server, client, page):
    server.will(server.reply(200, page))
    assert len(list(client.iter_workflow_release_tags("w"))) <= 1
    assert len(list(client.iter_workflow_deployment_releases("w"))) <= 1
    assert len(server.seen) == 2


def test_closed_client_refuses_calls(server):
    client = Client(api_key="k", base_url=server.url)
    client.close()
    client.close()
    with pytest.raises(APIConnectionError, match="this client is closed. Make a new one") as caught:
        client.environment_identity()
    assert caught.value.sent is False
    assert server.seen == []
