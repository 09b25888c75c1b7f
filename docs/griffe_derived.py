"""For the Python reference: signatures and docstrings as `help` shows them.

Functions of srcli take their options from the options' declarations, when they are imported.
mkdocstrings reads source text, where these are not to be seen.
"""

from __future__ import annotations

import inspect
from typing import Any

import griffe

PACKAGE = "srcli.api"


class Derived(griffe.Extension):
    """Replaces what the source says by what the imported function says."""

    def on_function_instance(self, *, func: griffe.Function, **_: Any) -> None:
        if not func.path.startswith(PACKAGE) or func.name.startswith("_"):
            return
        real = griffe.dynamic_import(func.path)
        func.parameters = griffe.Parameters(*map(_parameter, _parameters(real)))
        text = inspect.getdoc(real)
        if func.docstring is not None and text is not None:
            func.docstring.value = text


def _parameters(function: Any) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(function).parameters.values() if p.name != "self"]


def _parameter(given: inspect.Parameter) -> griffe.Parameter:
    annotation = default = None
    if given.annotation is not given.empty:
        annotation = getattr(given.annotation, "__forward_arg__", None) or (
            given.annotation
            if isinstance(given.annotation, str)
            else inspect.formatannotation(given.annotation)
        )
    if given.default is not given.empty:
        default = repr(given.default)
    kind = griffe.ParameterKind[given.kind.name.lower()]
    return griffe.Parameter(given.name, annotation=annotation, kind=kind, default=default)
