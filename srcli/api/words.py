"""Errors in the words of the Python API: its keywords where the command line has options.

The rooms that compute serve both, and speak of ``--memory``; who calls a function knows
``memory_bytes``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from srcli.errors import SrcliError

P = ParamSpec("P")
R = TypeVar("R")

# tried in order; the last speaks of any other option as of a keyword
_WORDS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"`srcli models( list)?`", "`srcli.models()`"),
    # a command stays a command, without its options
    (r"`(srcli [a-z]+(?: [\w.-]+)*?)(?: -[^`]*)`", r"the command `\1`"),
    (r"the standard input\b", "the picture given"),
    (r"For example: -x (\w+)", r"For example: scale=\1"),
    (r"--weights FILE --model ([\w.]+)", r'weights=FILE, model="\1"'),
    (r"--model ([a-z]\w*(?:\.\w+)*)", r'model="\1"'),
    (r"--(device|backend|precision|alpha|border) (cpu|cuda|mps|torch|openvino|fp32|bf16|fp16|"
     r"network|lanczos|discard|reflect)\b", r'\1="\2"'),
    (r"^(\S+) is not a device$", r'device="\1" is not known'),
    (
        r"^auto, cpu, cuda, cuda:N, mps, openvino:GPU or openvino:NPU$",
        '"auto", "cpu", "cuda", "cuda:1" (the second), "mps", "openvino:GPU" or "openvino:NPU"',
    ),
    (r"--overwrite or --skip-existing", "overwrite=True"),
    (r"--(overwrite|color-fix)\b", lambda m: f"{m[1].replace('-', '_')}=True"),
    (r"--ensemble (\d)", r"ensemble=\1"),
    (r", or take the first alone with --frames first", ""),
    (r"--memory\b", "memory_bytes"),
    (r"--scale\b|(?<=\s)-x\b", "scale"),
    (r"(?<=\s)-o\b", "output"),
    (r"--([a-z][a-z-]*)", lambda m: m[1].replace("-", "_")),
)  # fmt: skip


def translated(text: str) -> str:
    """A message or a hint without options of the command line."""
    for pattern, words in _WORDS:
        text = re.sub(pattern, words, text)
    return text


def in_python(function: Callable[P, R]) -> Callable[P, R]:
    """Have a function's errors speak of keywords."""

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except SrcliError as exc:
            exc.message = translated(exc.message)
            exc.hint = translated(exc.hint) if exc.hint else None
            exc.args = (exc.message,)
            raise

    return call
