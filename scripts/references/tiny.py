"""Tiny models with random weights, tiny tokenizers, texts."""

import base64
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


# Saving

def save(name, model, tokenizer, **options):
    """A model directory as transformers saves it."""
    directory = FAMILIES / name
    shutil.rmtree(directory, ignore_errors=True)
    model.save_pretrained(directory, **options)
    tokenizer.save_pretrained(directory)


def save_encoder(name, encoder, tokenizer, modules=None, **settings):
    """A model directory as sentence-transformers saves it. `settings` are those of SentenceTransformer."""
    directory = FAMILIES / name
    shutil.rmtree(directory, ignore_errors=True)
    # sentence-transformers gives a model a pooler of its own, that nothing uses, and saves it.
    torch.manual_seed(zlib.crc32(name.encode()))
    with tempfile.TemporaryDirectory() as saved:
        encoder.save_pretrained(saved)
        tokenizer.save_pretrained(saved)
        width = encoder.config.hidden_size
        modules = modules(width) if modules else [Pooling(width, "mean"), Normalize()]
        model = SentenceTransformer(modules=[Transformer(saved), *modules], device="cpu", **settings)
        model.save(str(directory), create_model_card=False)
    return directory
