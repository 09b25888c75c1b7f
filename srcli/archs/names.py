"""Other names that published files have for a network's parameters."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from torch import nn


def rename_on_loading(
    module: nn.Module,
    rules: Sequence[tuple[str, str]] = (),
    *,
    optional: Collection[str] = (),
    unused: str | None = None,
) -> None:
    """Have ``load_state_dict`` understand other names; those of the module are left as they are.

    Args:
        module: whose names are meant.
        rules: (pattern at the start of a name, what to put there); the first that fits counts.
        optional: what the module keeps as it is if a file does not have it.
        unused: pattern of names that the network makes no use of.
    """

    def hook(owner: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        own = owner.state_dict()
        for key in [k for k in state if k.startswith(prefix)]:
            name = key.removeprefix(prefix)
            if name in own:
                continue
            if unused is not None and re.match(unused, name):
                del state[key]
                continue
            now = renamed(name, rules)
            if now != name:
                state[prefix + now] = state.pop(key)
        for name in optional:
            state.setdefault(prefix + name, own[name])

    module.register_load_state_dict_pre_hook(hook)  # type: ignore[no-untyped-call]


def renamed(name: str, rules: Sequence[tuple[str, str]]) -> str:
    """The name by the first rule that fits; as it is if none does."""
    for pattern, new in rules:
        now, n = re.subn(rf"\A(?:{pattern})", new, name)
        if n:
            return now
    return name
