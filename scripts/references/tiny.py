"""Tiny models with random weights, tiny tokenizers, and what both are checked for."""

import base64
import copy
import json
import shutil
import tempfile
import zlib
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

FAMILIES = Path(__file__).resolve().parents[2] / "crates/models/tests/data/families"

# What a value may differ by between f32 and f64 arithmetic: the tests allow 1e-5.
EXACT = 2e-6
# What a weight or a setting must change, so that a test that allows 1e-5 sees it.
SEEN = 5e-5

WORDS = """the river runs to sea and under old stone bridge where children fish for eels in spring a cold wind from
    hills brings rain le fleuve coule vers la mer est un pont de pierre query passage search document""".split()
PUNCTUATION = list(".,!?:;'\"()-/<>[]|=+*&%$#@")
CHINESE = list("你好价格元")
CORPUS = [" ".join(WORDS[start:] + WORDS[:start]) + "." for start in range(0, len(WORDS), 5)] + [
    "The River, The Sea: the river runs; the wind brings rain!", "It's 100 of 25, isn't it?", "query: le café est fermé",
    "Where do the children fish for eels in spring?", "L'eau coule sous le pont.", "def run(river): return river.sea"]

# A character map as sentencepiece writes it, of 13 rules: a ligature, an ellipsis, spaces, full width, accents...
CHARACTER_MAP = zlib.decompress(base64.b64decode(
    "eNod03dsTmEUx/HfvYi0iYhEJJJSsecrLaX23mrWVlspsfe+b70otUrt9baKltas3Vq1U3vVrpYgsffm+/jjc8+595w898l9zlVeSSUkHx/JN59kSU"
    "6mbLkLSEXJvYW4BNs0yUnhGW2Ox2MrupaUhzx+hmRavNTyEx0/W06YVITcrBFXTypIHuO1ld5MiiwmFebejwX9URxbD0vJWbZKkZdEGZRGOZRFBZRH"
    "JVREFVRGVbiQnmArjfdWIw9EEKqjJmqArSoYdVAbbEl10QD10QgN0QSNwTbVFC3QHK3QEm3QGiFoi/Zoh47ogM7ohC4IRTd0RQ90Ry/0BJ9HvdEXfd"
    "Af/TAQAzAYgzAE4YjAUAzHMIwwPbG2RhFHYgxGYxzGYgLGYxImYgomYxqmgiPTdMzCTLjN4WI2IjEHHszDXMxHFKKxAIuwEEuwGDFYiuVYhhWIxSqs"
    "xBqsxjqsxQasxyZsRBy82Ix4bEECtpnZQBISsQPbkYJk7MJO7MFu7MNe7EcqDuIAGC8dwlEcMfOCNBzHMZzECWTgFM7gNM7hLC7gvKmlWrpIvIRMXM"
    "FlXMNV3MB13MJN3MFt3EUW7uMeHuIBHuMRniAbucjBMzzFc7xNtPSS+MLUoizlZlt6Tf7K1PAG7/EOH/EBn/EJX/EF3/ENP/EDv/ELf/FH//9/l8ul"
    "AAXkuD2B/A6hIcxheIQykvQPR2ee5w=="))


def noise(name):
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def randomise(model, name):
    """Weights that make each layer do much: at their usual scale, layers change little of what enters them."""
    with torch.no_grad():
        for place, parameter in sorted(dict(model.named_parameters()).items()):
            values = torch.randn(parameter.shape, generator=noise(name + place))
            if parameter.dim() == 1:
                is_scale = place.endswith("weight")
                values = 1 + 0.2 * values if is_scale else 0.3 * values
            elif "embed" in place or "relative_attention_bias" in place:
                values = 0.7 * values
            else:
                values = values * 1.2 / parameter.shape[1] ** 0.5
            parameter.copy_(values)
    model.tie_weights() if hasattr(model, "tie_weights") else None
    return model.eval()


# Tokenizers

def wordpiece(special, cased=False, words=WORDS):
    """A WordPiece vocabulary: the special tokens, words, and letters so that most words are made of something."""
    letters = "abcdefghijklmnopqrstuvwxyzé0123456789" if cased else "abcdefghijklmnopqrstuvwxyz0123456789"
    capitals = ["T", "L", "A", "The", "River", "Le"] if cased else []
    endings = ["##s", "##ing", "##ed", "##er", "##é" if cased else "##un"]
    pieces = [*special, *PUNCTUATION, *letters, *capitals, *(word for word in words if len(word) > 1), *endings,
              *("##" + letter for letter in letters), *CHINESE]
    return {piece: id for id, piece in enumerate(dict.fromkeys(pieces))}


def byte_level(special, after=(), size=300):
    """Byte-level BPE with all 256 bytes: the vocabulary and the merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(CORPUS, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = model["vocab"]
    for piece in after:
        vocabulary[piece] = len(vocabulary)
    return vocabulary, [tuple(merge) for merge in model["merges"]]


def unigram(before, after=("<mask>",)):
    """Pieces with their scores, as sentencepiece's: frequent first."""
    starts = ["▁" + word for word in [*WORDS, "The", "Le", "in", "un"]]
    parts = ["s", "ing", "ed", "er", "é", "fé", "ca", "▁ca", "100"]
    letters = [*"abcdefghijklmnopqrstuvwxyz", *"ATLS", *"0123456789", *PUNCTUATION[:8], *CHINESE]
    pieces = [(piece, 0.0) for piece in before] + [("▁", -3.5)]
    pieces += [(piece, round(-4 - 0.03 * rank, 4)) for rank, piece in enumerate(dict.fromkeys([*starts, *parts]))]
    taken = {piece for piece, _ in pieces}
    pieces += [(piece, round(-7 - 0.02 * rank, 4)) for rank, piece in enumerate(letters) if piece not in taken]
    return pieces + [(piece, 0.0) for piece in after]


# Texts

def mixture(count, seed=1, words=WORDS):
    """Words in no order: what is far away then differs from what is near."""
    order = torch.randint(len(words), (count,), generator=torch.Generator().manual_seed(seed)).tolist()
    return " ".join(words[index] for index in order)


TEXTS = [
    "The river runs to the sea",
    "Le café est fermé, désolé !",
    "  two   spaces\tand\nlines\u00a0 ",
    "",
    "A",
    "the <mask> [MASK] <pad> [PAD] pont",
    "价格 100 元: 你好",
    "ﬁre… ｂ① ½ e\u0301te\u0301 naïve İstanbul Straße 👍🏽 so\u00adft",
    mixture(14, 2),
    mixture(80, 3),
]


# Writing

def save_encoder(name, encoder, tokenizer, modules=None, **settings):
    """A model directory as sentence-transformers saves it. `settings` are those of SentenceTransformer."""
    directory = FAMILIES / name
    shutil.rmtree(directory, ignore_errors=True)
    with tempfile.TemporaryDirectory() as saved:
        encoder.save_pretrained(saved)
        tokenizer.save_pretrained(saved)
        width = encoder.config.hidden_size
        modules = modules(width) if modules else [Pooling(width, "mean"), Normalize()]
        model = SentenceTransformer(modules=[Transformer(saved), *modules], device="cpu", **settings)
        model.save(str(directory), create_model_card=False)
    return directory


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


def loaded(directory):
    return SentenceTransformer(str(directory), device="cpu", model_kwargs={"dtype": torch.float32}).eval()


def text_of(entry):
    return entry if isinstance(entry, str) else entry["repeat"] * entry["times"]


def encoded(model, texts, **options):
    """Each from a copy of the model: a rotary base that grows with a text stays so for the next."""
    return [torch.tensor(copy.deepcopy(model).encode([text_of(text)], **options)[0]) for text in texts]


def tokens(model, text, prompt=""):
    features = model.preprocess([prompt + text])
    types = features.get("token_type_ids")
    row = {"ids": features["input_ids"][0].tolist()}
    if types is not None and bool(types.any()):
        row["type_ids"] = types[0].tolist()
    return row


def farthest(first, second):
    return max(float((a.double() - b.double()).abs().max()) for a, b in zip(first, second, strict=True) if a.numel())


def agreeing(name, single, double):
    distance = farthest(single, double)
    assert distance <= EXACT, f"{name}: f32 and f64 differ by {distance:.1e}"
    return [value.tolist() for value in single]


def rounded(value):
    return [rounded(part) for part in value] if isinstance(value, list) else round(value, 7)


def write(name, header, rows):
    lines = [json.dumps({"name": name, **header}, ensure_ascii=False)]
    lines += [json.dumps({**row, "values": rounded(row["values"])}, ensure_ascii=False) for row in rows]
    (FAMILIES / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{name}: {len(rows)} texts")


def write_embeddings(name, header, texts=TEXTS, model=None, files=None, told=None, differs=(), unseen=(), prompt="",
                     **options):
    """Writes what a model makes of texts.

    `model` names the directory where it is another's, and `files` what is other than there. `told` are files that the
    reference cannot read, though models have them: they mean the same as what it did read. `differs` are settings of
    config.json that would change the values; `unseen` are the weights, by a part of their name, that change nothing.
    """
    directory = FAMILIES / (model or name)
    texts_of_files = {}
    if files:
        directory, texts_of_files = changed(directory, files)
    single = loaded(directory)
    values = encoded(single, texts, **options)
    double = encoded(copy.deepcopy(single).double(), texts, **options)
    rows = [
        {**({"text": text} if isinstance(text, str) else text), **tokens(single, text_of(text), prompt), "values": value}
        for text, value in zip(texts, agreeing(name, values, double), strict=True)]
    header = {"task": "embedding", **({"model": model} if model else {}), **header}
    if texts_of_files or told:
        header["files"] = {**texts_of_files, **(told or {})}
    write(name, header, rows)
    if not model:
        every_weight_is_seen(name, single, lambda: encoded(single, texts, **options), values, unseen)
    for settings in differs:
        other, _ = changed(directory, {"config.json": settings})
        distance = farthest(values, encoded(loaded(other), texts, **options))
        print(f"  {settings} changes {distance:.1e}")
        assert distance > SEEN, f"{name}: {settings} changes {distance:.1e}"


def every_weight_is_seen(name, model, compute, values, unseen):
    """Fails on a weight that might be anything."""
    least = (1e9, "")
    with torch.no_grad():
        for place, parameter in model.named_parameters():
            if any(part in place for part in ("pooler", *unseen)):
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
