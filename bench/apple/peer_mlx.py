#!/usr/bin/env python3
"""MLX on Apple's GPU (or on the processor, to try the scripts out). README.md has the protocol; peer.py answers it.

The model is written out here with MLX's fused attention and layer norm, as it is or compiled by `mx.compile`. Since MLX
0.31.2 a stream belongs to the thread that made it: each thread makes its own, and the weights are computed before.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peer import Embed, Ids, Model, Unavailable, serve

PLAIN, COMPILED = "plain", "compiled"


class MlxModel(Model):
    """BERT with mean pooling in MLX."""

    name = "MLX"
    forms = (PLAIN, COMPILED)
    threaded = (PLAIN,)

    def __init__(self, request: dict[str, Any]) -> None:
        import threading

        import mlx.core as mx
        import mlx.nn as nn

        self.mx, self.gelu = mx, nn.gelu
        self.version = mx.__version__
        self.loader = threading.get_ident()
        if request["device"] == "gpu" and not mx.metal.is_available():
            raise Unavailable(f"MLX {mx.__version__} finds no Metal device")
        self.where = mx.gpu if request["device"] == "gpu" else mx.cpu
        self.device = request["device"]
        mx.set_default_device(self.where)
        self._load(Path(request["model"]), mx.float16 if request["dtype"] == "f16" else mx.float32)

    def _load(self, directory: Path, dtype: Any) -> None:
        mx = self.mx
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        if (config["model_type"], config["hidden_act"]) != ("bert", "gelu"):
            raise ValueError(f"{directory}: this comparison expects BERT with gelu")
        self.heads, self.epsilon = config["num_attention_heads"], config["layer_norm_eps"]
        stored = {name[5:] if name.startswith("bert.") else name: tensor
                  for name, tensor in mx.load(str(directory / "model.safetensors")).items()}

        def pair(name: str, transposed: bool = False) -> tuple[Any, Any]:
            weight = stored[f"{name}.weight"].astype(dtype)
            return weight.T if transposed else weight, stored[f"{name}.bias"].astype(dtype)

        def layer(at: str) -> tuple[tuple[Any, Any], ...]:
            parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
            weight = mx.concatenate([stored[f"{part}.weight"] for part in parts]).astype(dtype)
            bias = mx.concatenate([stored[f"{part}.bias"] for part in parts]).astype(dtype)
            return (
                (weight.T, bias),
                pair(f"{at}.attention.output.dense", True),
                pair(f"{at}.attention.output.LayerNorm"),
                pair(f"{at}.intermediate.dense", True),
                pair(f"{at}.output.dense", True),
                pair(f"{at}.output.LayerNorm"),
            )

        self.words = stored["embeddings.word_embeddings.weight"].astype(dtype)
        # All tokens are of type 0, so its row is added once here instead of in each request.
        types = stored["embeddings.token_type_embeddings.weight"]
        self.positions = (stored["embeddings.position_embeddings.weight"] + types[0]).astype(dtype)
        self.embedded_norm = pair("embeddings.LayerNorm")
        self.layers = [layer(f"encoder.layer.{number}") for number in range(config["num_hidden_layers"])]
        mx.eval(self.words, self.positions, self.embedded_norm, self.layers)

    def forward(self, ids: Any) -> Any:
        """(batch, tokens) ids to (batch, width) in f32, of length 1."""
        mx, heads, epsilon = self.mx, self.heads, self.epsilon
        batch, tokens = ids.shape
        hidden = self.words[ids] + self.positions[:tokens]
        hidden = mx.fast.layer_norm(hidden, *self.embedded_norm, epsilon)
        for qkv, mixed, mixed_norm, up, down, norm in self.layers:
            split = mx.addmm(qkv[1], hidden, qkv[0]).reshape(batch, tokens, 3, heads, -1)
            query, key, value = (split[:, :, part].transpose(0, 2, 1, 3) for part in range(3))
            scale = query.shape[-1] ** -0.5
            joined = mx.fast.scaled_dot_product_attention(query, key, value, scale=scale)
            joined = joined.transpose(0, 2, 1, 3).reshape(batch, tokens, -1)
            joined = mx.addmm(mixed[1], joined, mixed[0])
            hidden = mx.fast.layer_norm(hidden + joined, *mixed_norm, epsilon)
            inner = mx.addmm(down[1], self.gelu(mx.addmm(up[1], hidden, up[0])), down[0])
            hidden = mx.fast.layer_norm(hidden + inner, *norm, epsilon)
        mean = hidden.astype(mx.float32).mean(axis=1)
        return mean / mx.linalg.norm(mean, axis=-1, keepdims=True)

    @contextmanager
    def thread(self, form: str) -> Iterator[Embed]:
        """A stream of the thread's own, but for the one that loaded the weights."""
        import threading

        mx = self.mx
        forward = mx.compile(self.forward) if form == COMPILED else self.forward

        def embed(ids: Ids) -> Any:
            values = forward(mx.array(ids))
            # Reading waits for the values; the copy is for the host alone.
            memoryview(values).tobytes()
            return values

        if threading.get_ident() == self.loader:
            yield embed
            return
        mx.set_default_device(self.where)
        with mx.stream(mx.new_stream(self.where)):
            yield embed

    def rows(self, values: Any) -> list[list[float]]:
        """Values as lists."""
        rows: list[list[float]] = values.tolist()
        return rows


if __name__ == "__main__":
    sys.exit(serve(MlxModel))
