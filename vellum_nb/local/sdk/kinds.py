"""Which kind of node result a node of the Workflows SDK is."""

from __future__ import annotations

__all__ = ["kind_of_node"]

_KINDS = {
    "BaseInlinePromptNode": "PROMPT",
    "BasePromptDeploymentNode": "PROMPT",
    "BasePromptNode": "PROMPT",
    "ToolCallingNode": "PROMPT",
    "TemplatingNode": "TEMPLATING",
    "CodeExecutionNode": "CODE_EXECUTION",
    "ConditionalNode": "CONDITIONAL",
    "BaseSearchNode": "SEARCH",
    "BaseAPINode": "API",
    "FinalOutputNode": "TERMINAL",
    "MergeNode": "MERGE",
    "MapNode": "MAP",
    "InlineSubworkflowNode": "SUBWORKFLOW",
    "SubworkflowDeploymentNode": "SUBWORKFLOW",
    "GuardrailNode": "METRIC",
}


def kind_of_node(node: type) -> str:
    """Return the kind as node results are called; an empty string for a node of one's own making.

    Examples
    --------
    >>> kind_of_node(dict)
    ''
    """
    for base in node.__mro__:
        if base.__module__.startswith("vellum.workflows.nodes.") and base.__name__ in _KINDS:
            return _KINDS[base.__name__]
    return ""
