"""A model's files as they are stored: its settings, and the bytes of its weights. Needs nothing but Python."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Stored(NamedTuple):
    """One tensor of a safetensors file; `dtype` is the file's word for it."""

    name: str
    dtype: str
    shape: list[int]
    data: bytearray


def read_stored(path: Path) -> Iterator[Stored]:
    """All tensors of a safetensors file: a length, a JSON header, then the bytes it points into."""
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack_from("<Q", data)
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        # A copy: the slice starts wherever the header ends, aligned or not.
        yield Stored(name, entry["dtype"], entry["shape"], data[begin:end])


def read_config(model_dir: Path) -> dict[str, Any]:
    """config.json, refused where the peers' forms of BERT would compute another model."""
    config: dict[str, Any] = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    for key, expected in (("model_type", "bert"), ("hidden_act", "gelu")):
        if config.get(key) != expected:
            found = config.get(key)
            raise ValueError(f"{model_dir}/config.json has {key} {found!r}; this comparison expects {expected!r}")
    return config
