"""The command `vellum-nb serve` with a model server for the prompts of prompt nodes."""

import pytest
from execution_kit import official, serving
from openai_kit import KEY, order

from vellum_nb.__main__ import main


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "name", "environment", "authorization"),
    [
        (("--model", "tiny"), "tiny", {"VELLUM_NB_MODELS_KEY": KEY}, f"Bearer {KEY}"),
        ((), "gpt-test", {"VELLUM_NB_MODELS_KEY": ""}, None),
    ],
)
def test_the_command_has_an_endpoint_answer_prompts(
    model, options, name, environment, authorization
):
    models = ("--models-url", model.url, *options)
    with serving(*models, **environment) as server, official(server) as client:
        answer = client.ad_hoc.adhoc_execute_prompt(**(order() | {"ml_model": "gpt-test"}))
    assert (answer.state, answer.outputs[0].value) == ("FULFILLED", "Hello")
    (asked,) = model.asked
    assert asked.body["model"] == name
    assert asked.headers.get("Authorization") == authorization


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--model", "tiny"), "add --models-url"),
        (("--models-url", f"http://{KEY}@nowhere/v1"), "not the address of a model"),
    ],
)
def test_options_that_do_not_do_are_refused_in_one_line(options, sentence, capsys):
    assert main(["serve", "--port", "0", "--no-samples", *options]) == 1
    written = capsys.readouterr()
    assert sentence in written.err
    assert "Traceback" not in written.err
    assert KEY not in written.err
    assert written.out == ""
