"""Thalweg's side: the command `thalweg` as a child process, for measurements and for embeddings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.children import FAILED, ChildFailed, call
from common.results import Sample


@dataclass
class Thalweg:
    """How to call the command."""

    program: str
    model: Path
    device: str
    dtype: str
    seconds: int

    def common(self, command: str) -> list[str]:
        """The flags of every call. An empty dtype leaves the choice to the command."""
        dtype = ["--dtype", self.dtype] if self.dtype else []
        return [self.program, command, "--device", self.device, *dtype, "--model", str(self.model)]

    def bench_command(self, tokens: int, batch: int, threads: list[int]) -> list[str]:
        """One child for all thread counts. The first is asked for twice: a process's first run pays for its start."""
        counts = ",".join(str(count) for count in [threads[0], *threads])
        asked = ["--tokens", tokens, "--threads", counts, "--batch", batch, "--seconds", self.seconds, "--json"]
        return self.common("bench") + [str(word) for word in asked]

    def estimate(self, threads: list[int]) -> float:
        """About how long such a child takes, in seconds."""
        return 2.0 + (len(threads) + 1) * self.seconds * 1.25

    def bench(
        self, tokens: int, batch: int, threads: list[int], time_left: float
    ) -> tuple[dict[str, Any], list[Sample]]:
        """Measures; the document that the child printed, and one sample for each thread count."""
        limit = max(5.0, min(time_left, 60 + 2 * self.estimate(threads)))
        document = json.loads(call(self.bench_command(tokens, batch, threads), limit))
        runs = document["runs"][1:]
        if [run["threads"] for run in runs] != threads:
            raise ChildFailed(FAILED, f"asked for {threads} threads, got {[run['threads'] for run in runs]}")
        return document, [
            Sample(run["requests_per_s"] * batch, run["p50_ms"], run["p99_ms"], run["tokenize_ms"]) for run in runs
        ]

    def embed(self, texts: list[str]) -> list[list[float]]:
        """The texts' embeddings, from several threads and in batches."""
        command = [*self.common("embed"), "--threads", "4", "--batch", "2", "--progress", "never"]
        lines = call(command, 120, "\n".join(texts) + "\n").splitlines()
        return [json.loads(line)["embedding"] for line in lines]
