"""Whether both sides compute the same: embeddings of a few texts against PyTorch's in f32 on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from common.bert import PlainBert, TransformersBert
from common.thalweg import Thalweg

TEXTS = [
    "The river finds the deepest line of its valley.",
    "Rain fell on the hills all night, and by morning the stream was over its banks.",
    "How long should rice be cooked?",
    "Zwei Fische schwimmen im See.",
    "1,024 threads; 32 streams; one device.",
    "No.",
    "The committee postponed its decision until the auditors had seen the accounts of both years.",
    "naïve café, 東京, and an emoji 🙂",
]
# Far below what f16 loses, far above what a wrong model keeps.
SIMILAR = 0.999


def reference(model_dir: Path) -> tuple[str, PlainBert | TransformersBert]:
    """The model in f32 on the CPU: the one of `transformers`, which somebody else wrote, if it loads."""
    cpu = torch.device("cpu")
    try:
        return "transformers", TransformersBert(model_dir, cpu, torch.float32)
    except Exception as error:  # Any reason is good enough for the other form.
        return f"plain PyTorch (transformers: {type(error).__name__})", PlainBert(model_dir, cpu, torch.float32)


def compare(name: str, found: Tensor, expected: Tensor) -> str:
    """One line: how far apart they are at most."""
    if found.shape != expected.shape:
        return f"WRONG: {name}: shape {tuple(found.shape)}, expected {tuple(expected.shape)}"
    difference = (found - expected).abs().max().item()
    cosine = torch.nn.functional.cosine_similarity(found, expected).min().item()
    # Written so that NaN is wrong.
    verdict = "" if cosine >= SIMILAR else "WRONG: "
    return f"{verdict}{name}: largest difference {difference:.2g}, lowest cosine {cosine:.7f}"


def check(model_dir: Path, measured: PlainBert | TransformersBert, device: torch.device, thalweg: Thalweg) -> list[str]:
    """Lines for people; what cannot be compared says why."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        return [f"values not compared: {error}"]
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.no_padding()
    ids = [torch.tensor([tokenizer.encode(text).ids]) for text in TEXTS]
    name, model = reference(model_dir)
    with torch.inference_mode():
        expected = torch.cat([model(one) for one in ids])
        on_device = torch.cat([measured(one.to(device)).cpu() for one in ids])
    lines = [f"values of {len(TEXTS)} texts against {name} in f32 on the CPU"]
    lines.append(compare("PyTorch as measured", on_device, expected))
    found: Callable[[], Tensor] = lambda: torch.tensor(thalweg.embed(TEXTS))
    try:
        lines.append(compare("Thalweg as measured", found(), expected))
    except (RuntimeError, ValueError, KeyError) as error:
        lines.append(f"Thalweg's values not compared: {error}")
    return lines
