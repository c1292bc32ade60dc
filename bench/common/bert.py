"""The model in PyTorch: token ids on the device to normalised sentence embeddings.

Two forms of the same model. `PlainBert` is written out with as few calls as PyTorch allows (one product for query, key
and value, fused attention, no mask); `TransformersBert` is the one of the package `transformers`. Both end in the mean
over the tokens and a division by the length, so that a form is the whole of a request but for its copies.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.stored import read_config, read_stored

STORED = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}


class LayerWeights(NamedTuple):
    """One layer's weights: products as (out, in), each followed by its bias."""

    qkv: Tensor
    qkv_bias: Tensor
    mixed: Tensor
    mixed_bias: Tensor
    mixed_norm: Tensor
    mixed_norm_bias: Tensor
    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor
    norm: Tensor
    norm_bias: Tensor


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file."""
    return {
        name: torch.frombuffer(data, dtype=STORED[dtype]).reshape(shape)
        for name, dtype, shape, data in read_stored(path)
    }


class PlainBert(nn.Module):
    """BERT with mean pooling, written out."""

    label = "plain PyTorch"

    def __init__(self, model_dir: Path, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        config = read_config(model_dir)
        self.heads: int = config["num_attention_heads"]
        self.width: int = config["hidden_size"]
        self.epsilon: float = config["layer_norm_eps"]
        stored = read_safetensors(model_dir / "model.safetensors")
        stored = {name.removeprefix("bert."): tensor for name, tensor in stored.items()}

        def parameter(tensor: Tensor) -> nn.Parameter:
            kept = nn.Parameter(tensor.to(device=device, dtype=dtype), requires_grad=False)
            self.register_parameter(f"weight_{len(self._parameters)}", kept)
            return kept

        def pair(name: str) -> tuple[nn.Parameter, nn.Parameter]:
            return parameter(stored[f"{name}.weight"]), parameter(stored[f"{name}.bias"])

        def layer(number: int) -> LayerWeights:
            at = f"encoder.layer.{number}"
            parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
            qkv = parameter(torch.cat([stored[f"{part}.weight"] for part in parts]))
            qkv_bias = parameter(torch.cat([stored[f"{part}.bias"] for part in parts]))
            return LayerWeights(
                qkv,
                qkv_bias,
                *pair(f"{at}.attention.output.dense"),
                *pair(f"{at}.attention.output.LayerNorm"),
                *pair(f"{at}.intermediate.dense"),
                *pair(f"{at}.output.dense"),
                *pair(f"{at}.output.LayerNorm"),
            )

        self.words = parameter(stored["embeddings.word_embeddings.weight"])
        # All tokens are of type 0, so its row is added once here instead of in each request.
        types = stored["embeddings.token_type_embeddings.weight"].float()
        self.positions = parameter(stored["embeddings.position_embeddings.weight"].float() + types[0])
        self.embedded_norm = pair("embeddings.LayerNorm")
        # A plain list: looking a parameter up in a submodule costs the calling thread more.
        self.weights = [layer(number) for number in range(config["num_hidden_layers"])]

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, tokens) ids to (batch, width) in f32."""
        batch, tokens = ids.shape
        shape, epsilon = (self.width,), self.epsilon
        hidden = F.embedding(ids, self.words) + self.positions[:tokens]
        hidden = F.layer_norm(hidden, shape, *self.embedded_norm, epsilon)
        for w in self.weights:
            qkv = F.linear(hidden, w.qkv, w.qkv_bias).view(batch, tokens, 3, self.heads, -1)
            query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, tokens, -1)
            mixed = F.linear(mixed, w.mixed, w.mixed_bias)
            hidden = F.layer_norm(hidden + mixed, shape, w.mixed_norm, w.mixed_norm_bias, epsilon)
            inner = F.linear(F.gelu(F.linear(hidden, w.up, w.up_bias)), w.down, w.down_bias)
            hidden = F.layer_norm(hidden + inner, shape, w.norm, w.norm_bias, epsilon)
        return pooled(hidden)


class TransformersBert(nn.Module):
    """The same model from the package `transformers`, with its fused attention."""

    label = "transformers"

    def __init__(self, model_dir: Path, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        # The model is a directory here; nothing is to be looked up elsewhere.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        from transformers import BertModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        model = BertModel.from_pretrained(str(model_dir), attn_implementation="sdpa", add_pooling_layer=False)
        self.bert = model.to(device=device, dtype=dtype).eval().requires_grad_(False)

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, tokens) ids to (batch, width) in f32."""
        return pooled(self.bert(input_ids=ids).last_hidden_state)


def pooled(hidden: Tensor) -> Tensor:
    """The mean over the tokens, of length 1, in f32. There is no padding: all texts of a batch are equally long."""
    return F.normalize(hidden.mean(1, dtype=torch.float32), dim=-1)
