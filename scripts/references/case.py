"""A case: what a model makes of texts, checked and written."""

import copy
import json
import shutil
import tempfile
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from .tiny import FAMILIES, TEXTS

# What a value may differ by between f32 and f64 arithmetic: the tests allow 1e-5.
EXACT = 2e-6
# What a weight or a setting must change, so that a test that allows 1e-5 sees it.
SEEN = 5e-5
F32 = {"dtype": torch.float32}


def inputs(entry):
    """The text of an entry, or its pair of texts."""
    if isinstance(entry, str):
        return entry
    return list(entry) if isinstance(entry, tuple) else entry["repeat"] * entry["times"]


def described(entry):
    if isinstance(entry, str):
        return {"text": entry}
    return {"pair": list(entry)} if isinstance(entry, tuple) else entry


def ids_of(features):
    types = features.get("token_type_ids")
    row = {"ids": features["input_ids"][0].tolist()}
    if types is not None and bool(types.any()):
        row["type_ids"] = types[0].tolist()
    return row


class Embedding:
    """What SentenceTransformer.encode makes. `call` are its arguments."""

    task = "embedding"

    def __init__(self, **call):
        self.call = call

    def load(self, directory):
        return SentenceTransformer(str(directory), device="cpu", model_kwargs=F32)

    def tokens(self, model, entry):
        name = self.call.get("prompt_name", model.default_prompt_name)
        prompt = self.call.get("prompt", model.prompts.get(name) if name else None)
        return ids_of(model.preprocess([inputs(entry)], prompt=prompt))

    def values(self, model, entry):
        return {"values": torch.as_tensor(model.encode([inputs(entry)], **self.call)[0])}


class Rerank:
    """What CrossEncoder.predict makes."""

    task = "rerank"

    def __init__(self, **call):
        self.call = call

    def load(self, directory):
        return CrossEncoder(str(directory), device="cpu", model_kwargs=F32)

    def tokens(self, model, entry):
        return ids_of(model.preprocess([inputs(entry)]))

    def values(self, model, entry):
        values = {"values": model.predict([inputs(entry)], convert_to_tensor=True, **self.call)[0]}
        identity = torch.nn.Identity()
        return {**values, "logits": model.predict([inputs(entry)], convert_to_tensor=True, activation_fn=identity)[0]}


class Sparse:
    """What SparseEncoder.encode makes: values of the whole vocabulary."""

    task = "sparse"
    call = {}

    def load(self, directory):
        return SparseEncoder(str(directory), device="cpu", model_kwargs=F32)

    def tokens(self, model, entry):
        return ids_of(model.preprocess([inputs(entry)]))

    def values(self, model, entry):
        return {"values": model.encode([inputs(entry)], convert_to_sparse_tensor=False)[0]}


class Classify:
    """What the text-classification pipeline of transformers makes, cut at the tokenizer's longest."""

    task = "classify"
    call = {}

    def load(self, directory):
        model = AutoModelForSequenceClassification.from_pretrained(str(directory), dtype=torch.float32).eval()
        model.tokenizer = AutoTokenizer.from_pretrained(str(directory))
        return model

    def tokens(self, model, entry):
        texts = inputs(entry)
        return ids_of(model.tokenizer(*(texts if isinstance(texts, list) else [texts]), return_tensors="pt", truncation=True))

    def values(self, model, entry):
        texts = inputs(entry)
        one = {"text": texts[0], "text_pair": texts[1]} if isinstance(texts, list) else texts
        with torch.no_grad():
            pairs = texts if isinstance(texts, list) else [texts]
            logits = model(**model.tokenizer(*pairs, return_tensors="pt", truncation=True)).logits[0]
        scores = pipeline("text-classification", model=model, tokenizer=model.tokenizer, top_k=None, device="cpu")(
            one, truncation=True)
        scores = scores[0] if isinstance(scores[0], list) else scores
        by_label = {score["label"]: score["score"] for score in scores}
        return {"values": torch.tensor([by_label[label] for _, label in sorted(model.config.id2label.items())]),
                "logits": logits}


def changed(directory, files):
    """A copy of a model directory with other files. A value that is a dictionary is settings of a JSON file."""
    copied = Path(tempfile.mkdtemp()) / "model"
    shutil.copytree(directory, copied)
    texts = {}
    for name, value in files.items():
        path = copied / name
        if isinstance(value, dict):
            value = json.dumps({**json.loads(path.read_text(encoding="utf-8")), **value}, ensure_ascii=False)
        texts[name] = value
        if value is None:
            path.unlink()
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(value, encoding="utf-8")
    return copied, texts


def farthest(first, second):
    return max(float((one[key].double() - other[key].double()).abs().max())
               for one, other in zip(first, second, strict=True) for key in one)


def rounded(value):
    return [rounded(part) for part in value] if isinstance(value, list) else round(value, 7)


def listed(task, key, value):
    if task.task == "sparse" and key == "values":
        return [[index, rounded(part)] for index, part in enumerate(value.tolist()) if part != 0]
    return rounded(value.tolist())


def write_case(name, header, texts=TEXTS, task=Embedding(), model=None, files=None, told=None, own=False, at=None,
               exact=EXACT, differs=(), unseen=()):
    """Writes what a model makes of texts.

    `model` names the directory where it is another's, and `files` what is other than there. `told` are files that the
    reference cannot read, though models have them: they mean the same as what it did read. So does a directory of the
    case's `own`. `at` is where a model lies that is not kept here. `differs` are settings of config.json that would
    change the values; `unseen` are the weights, by a part of their name, that change nothing.
    """
    directory, replaced = at or FAMILIES / (model or name), {}
    if files:
        directory, replaced = changed(directory, files)
    single = task.load(directory).eval()

    def compute(model):
        # Each from a copy: a rotary base that grows with a text stays so for the next.
        return [task.values(copy.deepcopy(model), text) for text in texts]

    values = compute(single)
    distance = farthest(values, compute(copy.deepcopy(single).double()))
    assert distance <= exact, f"{name}: f32 and f64 differ by {distance:.1e}"
    header = {"name": name, "task": task.task, **({"model": model} if model and not own else {}), **header}
    if task.call:
        header["call"] = task.call
    if replaced or told:
        header["files"] = {**replaced, **(told or {})}
    rows = [{**described(text), **task.tokens(single, text), **{key: listed(task, key, part) for key, part in value.items()}}
            for text, value in zip(texts, values, strict=True)]
    lines = [json.dumps(line, ensure_ascii=False) for line in [header, *rows]]
    (FAMILIES / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{name}: {len(rows)} texts, f64 differs by {distance:.0e}")
    if not model:
        every_weight_is_seen(name, single, lambda: compute(single), values, unseen)
    for settings in differs:
        other, _ = changed(directory, {"config.json": settings})
        distance = farthest(values, compute(task.load(other).eval()))
        print(f"  {settings} changes {distance:.1e}")
        assert distance > SEEN, f"{name}: {settings} changes {distance:.1e}"


def every_weight_is_seen(name, model, compute, values, unseen):
    """Fails on a weight that might be anything."""
    least = (1e9, "")
    with torch.no_grad():
        for place, parameter in model.named_parameters():
            if any(part in place for part in unseen):
                continue
            kept = parameter.clone()
            without = torch.ones_like(kept) if kept.dim() == 1 and place.endswith("weight") else torch.zeros_like(kept)
            rows = [...]
            if "relative_attention_bias" in place:
                # A row a distance. No distance has the one that would be that of nothing to the right.
                rows = [row for row in range(len(kept)) if row != len(kept) // 2]
            for row in rows:
                parameter[row] = without[row]
                distance = farthest(values, compute())
                parameter.copy_(kept)
                assert distance > SEEN, f"{name}: {place} {row} changes {distance:.1e}"
                least = min(least, (distance, place))
    print(f"  each weight is seen; least {least[1]}, {least[0]:.1e}")
