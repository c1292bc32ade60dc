"""The model as an ONNX graph of ONNX Runtime's fused operators: token ids to normalised sentence embeddings.

No padding and no mask: all texts of a call are equally long. What the runtime's own optimizer makes of an exported BERT
is written here as it is in the end, so that no other program has to export it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from common.stored import read_config, read_stored

# Of ONNX Runtime: EmbedLayerNormalization, Attention, SkipLayerNormalization and BiasGelu.
FUSED = "com.microsoft"
# Attention as one operator with the products for query, key and value inside, or as those products and the rest.
ATTENTION = ("whole", "apart")
STORED = {"F32": np.float32, "F16": np.float16}


def read_weights(model_dir: Path) -> dict[str, np.ndarray]:
    """The weights in f32."""
    tensors = read_stored(model_dir / "model.safetensors")
    floats = (tensor for tensor in tensors if tensor.dtype in STORED)
    return {
        tensor.name.removeprefix("bert."): np.frombuffer(tensor.data, STORED[tensor.dtype])
        .reshape(tensor.shape)
        .astype(np.float32)
        for tensor in floats
    }


class Encoder:
    """A graph that grows node by node."""

    def __init__(self, model_dir: Path, attention: str) -> None:
        self.config = read_config(model_dir)
        self.stored = read_weights(model_dir)
        self.attention = attention
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []

    def model(self) -> ModelProto:
        """(batch, tokens) ids as i32 to (batch, width) in f32."""
        hidden = self._embeddings()
        for layer in range(self.config["num_hidden_layers"]):
            hidden = self._layer(f"encoder.layer.{layer}", hidden)
        axis = self._weight("axis", np.array([1], np.int64))
        mean = self._node("ReduceMean", [hidden, axis], keepdims=0)
        self._node("LpNormalization", [mean], output="embeddings", axis=-1, p=2)
        given = helper.make_tensor_value_info("ids", TensorProto.INT32, ["batch", "tokens"])
        made = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", self.config["hidden_size"]])
        graph = helper.make_graph(self.nodes, "encoder", [given], [made], self.weights)
        versions = [helper.make_opsetid("", 18), helper.make_opsetid(FUSED, 1)]
        return helper.make_model(graph, opset_imports=versions, ir_version=10)

    def _weight(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _node(self, kind: str, given: list[str], domain: str = "", output: str = "", **more: Any) -> str:
        output = output or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, given, [output], domain=domain, **more))
        return output

    def _kept(self, name: str) -> str:
        """A weight as it is stored."""
        return self._weight(name, self.stored[name])

    def _product(self, name: str, hidden: str) -> str:
        """A product without its bias; stored as (out, in)."""
        return self._node("MatMul", [hidden, self._weight(f"{name}.weight", self.stored[f"{name}.weight"].T)])

    def _norm(self, name: str) -> list[str]:
        return [self._kept(f"{name}.weight"), self._kept(f"{name}.bias")]

    def _embeddings(self) -> str:
        at = "embeddings"
        words = self._kept(f"{at}.word_embeddings.weight")
        # All tokens are of type 0, so its row is added once here instead of in each call.
        types = self.stored[f"{at}.token_type_embeddings.weight"]
        positions = self._weight(f"{at}.positions", self.stored[f"{at}.position_embeddings.weight"] + types[0])
        given = ["ids", "", words, positions, "", *self._norm(f"{at}.LayerNorm")]
        output = self._node("EmbedLayerNormalization", given, FUSED, epsilon=self.config["layer_norm_eps"])
        # Required by the operator: an index of the mask, which nobody reads.
        self.nodes[-1].output.append("mask_index")
        return output

    def _layer(self, at: str, hidden: str) -> str:
        mixed = self._attention(f"{at}.attention.self", hidden)
        hidden = self._added(f"{at}.attention.output", mixed, hidden)
        inner = self._product(f"{at}.intermediate.dense", hidden)
        inner = self._node("BiasGelu", [inner, self._kept(f"{at}.intermediate.dense.bias")], FUSED)
        return self._added(f"{at}.output", inner, hidden)

    def _attention(self, at: str, hidden: str) -> str:
        parts = [f"{at}.{part}" for part in ("query", "key", "value")]
        bias = self._weight(f"{at}.bias", np.concatenate([self.stored[f"{part}.bias"] for part in parts]))
        heads = self.config["num_attention_heads"]
        if self.attention == "whole":
            weights = np.concatenate([self.stored[f"{part}.weight"] for part in parts]).T
            given = [hidden, self._weight(f"{at}.weight", weights), bias]
            return self._node("Attention", given, FUSED, num_heads=heads)
        products = [self._product(part, hidden) for part in parts]
        return self._node("MultiHeadAttention", [*products, bias], FUSED, num_heads=heads)

    def _added(self, at: str, given: str, hidden: str) -> str:
        """A product, its bias and the layer's input, normalised."""
        parts = [self._product(f"{at}.dense", given), hidden]
        parts += [*self._norm(f"{at}.LayerNorm"), self._kept(f"{at}.dense.bias")]
        return self._node("SkipLayerNormalization", parts, FUSED, epsilon=self.config["layer_norm_eps"])
