#!/usr/bin/env python3
"""ONNX Runtime on the work of crates/models/examples/mixed.rs: short calls beside batches of long texts.

The same texts, callers, pauses and quantiles. Token ids are made before anything is measured, and each embedding is
compared with the one that its text had alone. Before that, the reference texts' embeddings are compared.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

REPOSITORY = Path(__file__).resolve().parents[2]
# What the comparisons share is beside this folder.
sys.path.insert(0, str(REPOSITORY / "bench"))

from encoder import ATTENTION, Encoder

# As in mixed.rs: tokens of a short and of a long text, distinct texts of either sort, and what a batch caller embeds.
SHORT, LONG = 7, 256
TEXTS = 16
LEAST = 64
WORDS = ("river", "stream", "bank", "water", "many", "one", "deep", "fast")
# How far a value may be from the reference, and from the one that its text had in a call of its own.
TOLERANCE = 1e-5


class Way(NamedTuple):
    """How callers reach the runtime: `shared-2-spin` is one session with two threads, which spin while they wait."""

    shared: bool
    threads: int
    spin: bool

    @classmethod
    def parse(cls, text: str) -> Way:
        """`shared` or `each`, the threads of a session's pool (the caller is one of them), `spin` or `block`."""
        session, threads, wait = text.split("-")
        if session not in ("shared", "each") or wait not in ("spin", "block") or int(threads) < 1:
            raise ValueError
        return cls(session == "shared", int(threads), wait == "spin")

    def __str__(self) -> str:
        return f"{'shared' if self.shared else 'each'}-{self.threads}-{'spin' if self.spin else 'block'}"


def ways_of(text: str) -> list[Way]:
    """Those between commas."""
    return [Way.parse(way) for way in text.split(",")]


def session(graph: bytes, way: Way) -> onnxruntime.InferenceSession:
    """A session on the processor with all of the runtime's optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = way.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(way.spin)))
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def embed(runtime: onnxruntime.InferenceSession, ids: np.ndarray) -> np.ndarray:
    """One call, which releases the interpreter's lock."""
    return runtime.run(None, {"ids": ids})[0]


def text(tokens: int, index: int) -> str:
    """The text that mixed.rs makes."""
    return " ".join(WORDS[(at * (2 * index + 1) + index) % len(WORDS)] for at in range(tokens - 2))


def tokenizer(model_dir: Path) -> Tokenizer:
    """The model's, without padding, and with the truncation of sentence_bert_config.json."""
    found = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    found.no_padding()
    settings = json.loads((model_dir / "sentence_bert_config.json").read_text(encoding="utf-8"))
    found.enable_truncation(settings["max_seq_length"])
    return found


def expect_near(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    """Refuses values that are not the model's."""
    difference = np.abs(found - expected).max()
    # Written so that NaN is refused.
    if not difference <= TOLERANCE:
        raise ValueError(f"{what}: a value differs by {difference:.2g}, expected at most {TOLERANCE:.0e}")


def check_golden(runtime: onnxruntime.InferenceSession, words: Tokenizer, golden: Path) -> None:
    """Compares the embeddings of the reference texts, one text a call."""
    for line in golden.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        ids = words.encode(entry["text"]).ids
        if len(ids) != entry["tokens"]:
            raise ValueError(f"{entry['text']!r} has {len(ids)} tokens, expected {entry['tokens']}")
        expect_near(embed(runtime, np.array([ids], np.int32))[0], np.array(entry["embedding"]), repr(entry["text"]))


class Inputs(NamedTuple):
    """The texts of one sort as ids, and what each has to give."""

    ids: np.ndarray
    alone: np.ndarray

    @classmethod
    def make(cls, runtime: onnxruntime.InferenceSession, words: Tokenizer, tokens: int) -> Inputs:
        """Embeds each text in a call of its own."""
        ids = np.array([words.encode(text(tokens, index)).ids for index in range(TEXTS)], np.int32)
        if ids.shape != (TEXTS, tokens):
            raise ValueError(f"the texts of {tokens} tokens came as {ids.shape}")
        return cls(ids, np.concatenate([embed(runtime, ids[index : index + 1]) for index in range(TEXTS)]))

    def call(self, runtime: onnxruntime.InferenceSession, first: int, texts: int) -> None:
        """Embeds so many texts and checks the result."""
        indices = np.arange(first, first + texts) % TEXTS
        expect_near(embed(runtime, self.ids[indices]), self.alone[indices], "an embedding in a batch")


class Side:
    """One way, with the sessions of all callers; the last session is the short caller's."""

    def __init__(self, graph: bytes, way: Way, callers: int, words: Tokenizer, golden: Path) -> None:
        made = [session(graph, way) for _ in range(1 if way.shared else callers + 1)]
        check_golden(made[0], words, golden)
        self.sessions = made * (callers + 1) if way.shared else made
        self.short, self.long = (Inputs.make(made[0], words, tokens) for tokens in (SHORT, LONG))

    def short_calls(self, pause: float, go_on: Callable[[int], bool]) -> list[float]:
        """Milliseconds of each, ascending."""
        times: list[float] = []
        while go_on(len(times)):
            time.sleep(pause)
            begun = time.perf_counter()
            self.short.call(self.sessions[-1], len(times), 1)
            times.append((time.perf_counter() - begun) * 1e3)
        return sorted(times)

    def measure(self, callers: int, texts: int, pause: float | None) -> tuple[list[float], float]:
        """Lets the batch callers do their work, beside a caller of short texts if it has a pause; times and texts/s."""
        calls = math.ceil(LEAST / texts)
        one_is_done = threading.Event()
        begun = time.perf_counter()

        def batches(caller: int) -> float:
            try:
                for call in range(calls):
                    self.long.call(self.sessions[caller], caller + call, texts)
            finally:
                # From then on there are fewer than the cell says, so the short caller stops.
                one_is_done.set()
            return time.perf_counter() - begun

        with ThreadPoolExecutor(callers) as pool:
            work = [pool.submit(batches, caller) for caller in range(callers)]
            times = [] if pause is None else self.short_calls(pause, lambda _calls: not one_is_done.is_set())
            last = max(future.result() for future in work)
        return times, callers * calls * texts / last


def quantile(times: list[float], share: float) -> float:
    """The smallest of ascending times that at least this share of all are not longer than; 0 if there are none."""
    return times[max(math.ceil(share * len(times)), 1) - 1] if times else 0.0


def cell(side: Side, way: Way, options: argparse.Namespace) -> dict[str, Any]:
    """One way's figures: the short caller alone, batches without it, and both."""
    callers, texts, pause = options.callers, options.texts, options.pause / 1e3
    idle = side.short_calls(pause, lambda calls: calls < 20)
    _, without = side.measure(callers, texts, None)
    times, beside = side.measure(callers, texts, pause)
    return {
        "way": str(way),
        "alone_p50": quantile(idle, 0.5),
        "p50": quantile(times, 0.5),
        "p99": quantile(times, 0.99),
        "texts_per_s": beside,
        "kept": beside / without,
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=REPOSITORY / "models/all-MiniLM-L6-v2", help="its directory")
    parser.add_argument("--golden", type=Path, default=REPOSITORY / "crates/models/tests/data/minilm.jsonl")
    parser.add_argument("--callers", type=int, required=True, help="batch callers")
    parser.add_argument("--texts", type=int, required=True, help="texts in a batch")
    parser.add_argument("--pause", type=float, default=50, help="milliseconds that the short caller pauses")
    ways = "of shared|each-THREADS-spin|block, such as shared-2-spin,each-1-block"
    parser.add_argument("--ways", type=ways_of, required=True, help=ways)
    parser.add_argument("--attention", choices=ATTENTION, default=ATTENTION[0], help="whole: the faster where tried")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Measures one cell in each way; a JSON document on standard output."""
    options = parse(arguments)
    graph = Encoder(options.model, options.attention).model().SerializeToString()
    words = tokenizer(options.model)
    figures: list[dict[str, Any]] = []
    for way in options.ways:
        # A side goes with its sessions and their threads before the next one is there.
        figures.append(cell(Side(graph, way, options.callers, words, options.golden), way, options))
    print(json.dumps({"version": onnxruntime.__version__, "figures": figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
