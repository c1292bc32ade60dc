"""Texts to measure with: the ones that `thalweg bench` makes, word for word.

Random words, each with an id of its own, so that a text of n ids has n - 2 words: BERT's tokenizer adds two. The words
and the numbers that choose them are those of crates/cli/src/bench.
"""

from __future__ import annotations

import json
from pathlib import Path

WORDS = Path(__file__).resolve().parents[2] / "crates/cli/src/bench/words.txt"
MASK = (1 << 64) - 1
SPECIAL_IDS = 2


class Random:
    """SplitMix64 (Steele, Lea and Flood, 2014)."""

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK

    def next(self) -> int:
        """64 random bits."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        bits = self.state
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & MASK
        return bits ^ (bits >> 31)

    def below(self, bound: int) -> int:
        """A number below `bound` (Lemire, 2019)."""
        return (self.next() * bound) >> 64


def single_words(model: Path) -> list[str]:
    """Those of the bundled words that the model's vocabulary has as they are: one id each."""
    document = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = document["model"]["vocab"]
    return [word for word in WORDS.read_text(encoding="utf-8").split() if word in vocabulary]


class Texts:
    """A source of texts of one length."""

    def __init__(self, words: list[str], tokens: int) -> None:
        self.words = words
        self.length = tokens - SPECIAL_IDS

    def requests(self, threads: int, number: int, batch: int, count: int) -> list[list[str]]:
        """The first requests of one of so many threads, numbered from 0."""
        random = Random(threads << 48 | number << 32)
        words, length = self.words, range(self.length)

        def text() -> str:
            return " ".join([words[random.below(len(words))] for _ in length])

        return [[text() for _ in range(batch)] for _ in range(count)]
