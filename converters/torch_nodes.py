"""What the PyTorch reader must know about a node of an exported program besides its operator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from edge_oneshot.errors import ModelError

# Operators whose result shares its memory with their first input.
_VIEWS = frozenset(
    {"flatten", "view", "reshape", "_unsafe_view", "squeeze", "unsqueeze", "slice", "permute", "transpose", "select"}
    | {"dropout", "contiguous", "detach", "alias", "to", "type_as"}
)


def place_of(node: Any) -> str:
    """Where a node is in the source: its name, the module, and the line of the user's code."""
    words = [node.name]
    stack = node.meta.get("nn_module_stack") or {}
    path = [entry[0] for entry in stack.values() if entry[0]]
    if path:
        words.append(f"module {path[-1]}")
    lines = re.findall(r'File "(.+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [f"{Path(file).name} line {line}" for file, line in lines if "/torch/nn/" not in file]
    words += own[-1:]
    return ", ".join(words)


def check_in_place(node: Any, name: str) -> None:
    """An operator in place also changes what shares its memory, if that is read later. ModelError."""
    base = node.args[0]
    while base.op == "call_function" and _plain(base) in _VIEWS:
        base = base.args[0]
    shared, waiting = {node.args[0], base}, [base]
    while waiting:
        views = [u for u in waiting.pop().users if u.op == "call_function" and _plain(u) in _VIEWS]
        waiting += [u for u in views if u not in shared]
        shared.update(views)
    if any(u > node for v in shared for u in v.users if u is not node):
        raise ModelError(
            f"{name} ({place_of(node)}): expected a result of its own, got a change of memory that another layer reads",
            "set inplace=False",
        )


def _plain(node: Any) -> str:
    schema = getattr(node.target, "_schema", None)
    return "" if schema is None else str(schema.name.split("::")[1])


def leaves(values: Any) -> list[Any]:
    return [leaf for v in values for leaf in (leaves(v) if isinstance(v, (list, tuple)) else [v])]


def computed(target: Any, arguments: list[Any]) -> Any:
    """The result of an operator on constants, as arrays."""
    import torch

    def to_torch(v: Any) -> Any:
        if isinstance(v, list):
            return [to_torch(x) for x in v]
        return torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v

    def to_numpy(v: Any) -> Any:
        if isinstance(v, (list, tuple)):
            return tuple(to_numpy(x) for x in v)
        return v.detach().numpy() if isinstance(v, torch.Tensor) else v

    names = [a.name for a in target._schema.arguments]
    keyword = {a.name for a in target._schema.arguments if a.kwarg_only}
    given = [(n, to_torch(v)) for n, v in zip(names, arguments, strict=True)]
    return to_numpy(target(*(v for n, v in given if n not in keyword), **{n: v for n, v in given if n in keyword}))
