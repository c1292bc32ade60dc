#!/usr/bin/env python3
"""PyTorch on MPS (or on the processor, to try the scripts out). README.md has the protocol; peer.py answers it.

Three forms of the model: written out with as few calls as PyTorch allows, the one of `transformers`, and the first one
compiled by `torch.compile` for each batch size, for one thread alone. Threads share one model, and one stream: MPS has
no other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peer import Embed, Ids, Model, Unavailable, serve

PLAIN, TRANSFORMERS, COMPILED = "plain", "transformers", "compiled"


class TorchModel(Model):
    """The model in PyTorch."""

    name = "PyTorch"
    forms = (PLAIN, TRANSFORMERS, COMPILED)
    threaded = (PLAIN, TRANSFORMERS)

    def __init__(self, request: dict[str, Any]) -> None:
        import torch

        from common.bert import PlainBert

        self.torch = torch
        self.version = torch.__version__
        if request["device"] == "gpu" and not torch.backends.mps.is_available():
            raise Unavailable(f"PyTorch {torch.__version__} finds no MPS device")
        self.device = "mps" if request["device"] == "gpu" else "cpu"
        self.directory = Path(request["model"])
        self.dtype = torch.float16 if request["dtype"] == "f16" else torch.float32
        self.models: dict[str, Any] = {PLAIN: PlainBert(self.directory, torch.device(self.device), self.dtype)}

    def prepare(self, form: str) -> None:
        """Makes the model in a form."""
        if form not in self.models:
            if form == TRANSFORMERS:
                from common.bert import TransformersBert

                self.models[form] = TransformersBert(self.directory, self.torch.device(self.device), self.dtype)
            else:
                self.models[form] = self.torch.compile(self.models[PLAIN], dynamic=False)

    @contextmanager
    def thread(self, form: str) -> Iterator[Embed]:
        """Inference mode is a thread's own."""
        torch, model, device = self.torch, self.models[form], self.device

        def embed(ids: Ids) -> Any:
            return model(torch.tensor(ids).to(device)).cpu()

        with torch.inference_mode():
            yield embed

    def rows(self, values: Any) -> list[list[float]]:
        """Values as lists."""
        rows: list[list[float]] = values.tolist()
        return rows


if __name__ == "__main__":
    sys.exit(serve(TorchModel))
