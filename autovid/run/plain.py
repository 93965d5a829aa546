"""Values that come back from a file exactly as they went in."""

from typing import Any

import torch


def plain(value: Any, where: str, tensors: bool = False) -> Any:
    """A copy of nested dicts, lists and plain values, with tensors (if allowed) moved to the CPU.

    Without tensors only what JSON keeps unchanged is let through: string keys, no tuples. Raises TypeError naming
    the place: what the file would lose silently is a bug of the caller.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if tensors and isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, list) or (tensors and isinstance(value, tuple)):
        items = [plain(item, f"{where}[{index}]", tensors) for index, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, dict):
        bad = next((key for key in value if not isinstance(key, str) and not (tensors and type(key) is int)), None)
        if bad is not None:
            raise TypeError(f"{where}: the key {bad!r} would not come back as it is")
        return {key: plain(item, f"{where}.{key}", tensors) for key, item in value.items()}
    raise TypeError(f"{where}: a {type(value).__name__} would not come back as it is")
