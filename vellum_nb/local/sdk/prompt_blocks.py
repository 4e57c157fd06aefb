"""Prompt blocks and their inputs, compiled by the Workflows SDK itself."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vellum_nb.errors import VellumNBError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what the SDK warns about on import is not ours
    from vellum.client.types.number_input import NumberInput
    from vellum.client.types.prompt_exec_config import PromptExecConfig
    from vellum.client.types.prompt_request_input import PromptRequestInput
    from vellum.prompts.blocks.compilation import compile_prompt_blocks
    from vellum.prompts.blocks.exceptions import PromptCompilationError
    from vellum.utils.templating.exceptions import JinjaTemplateError

_INPUT: TypeAdapter[Any] = TypeAdapter(PromptRequestInput)


def compile_blocks(
    blocks: Sequence[Mapping[str, Any]], inputs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return the blocks with variables and templates filled in, as plain JSON."""
    config = {"ml_model": "", "input_variables": [], "parameters": {}, "blocks": list(blocks)}
    try:
        parsed = PromptExecConfig.model_validate(config).blocks
        compiled = compile_prompt_blocks(parsed, [_input(each) for each in inputs], [])
    except (PromptCompilationError, JinjaTemplateError) as exc:
        raise VellumNBError(str(exc)) from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        msg = f"The prompt's blocks or inputs are not what Vellum knows: {first['msg']}"
        raise VellumNBError(msg) from None
    return [block.model_dump(mode="json") for block in compiled]


def _input(given: Mapping[str, Any]) -> Any:
    if given.get("type") == "NUMBER":
        return NumberInput(name=str(given.get("key")), value=given.get("value"))
    return _INPUT.validate_python(dict(given))
