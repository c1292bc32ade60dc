#!/usr/bin/env python3
"""A peer, and a `thalweg`, that only pretend: for test_compare.py.

  fake_peer.py good|wrong|racy|crash|hang|fail|garbage GOLDEN     speaks the protocol of README.md
  fake_peer.py embed|bench|--version ...                          answers as `thalweg` does

All know their values from the file GOLDEN (`thalweg` from FAKE_GOLDEN in the environment). `wrong` has others, `racy`
from two threads on. `crash` kills itself and `hang` sleeps in cells of two threads and of batches of four, `fail` says
so.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def answer(document: dict[str, Any]) -> None:
    """One line."""
    print(json.dumps(document), flush=True)


def known(path: str) -> dict[str, list[float]]:
    """Embeddings by text."""
    texts = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return {text["text"]: text["embedding"] for text in texts}


def peer(kind: str, golden: str) -> int:
    """Answers one request."""
    request = json.load(sys.stdin)
    answer({"ready": {"name": kind, "version": "1", "device": request["device"]}})
    values = known(golden)
    found = [list(values[text]) for text in request["texts"]]
    cells = request["cells"]
    threads = max((cell["threads"] for cell in cells), default=1)
    if kind == "wrong" or (kind == "racy" and threads > 1):
        found[0] = [-value for value in found[0]]
    answer({"embeddings": found})
    for cell in cells:
        if cell["threads"] == 2 or cell["batch"] == 4:
            if kind == "crash":
                os.kill(os.getpid(), signal.SIGABRT)
            if kind == "hang":
                # A child of its own, to see that it goes too.
                os.execvp("sh", ["sh", "-c", "sleep 600 & wait"])
            if kind == "fail":
                answer({"threads": cell["threads"], "batch": cell["batch"], "error": "out of memory"})
                continue
            if kind == "garbage":
                print("what?", flush=True)
                continue
        figures = {"texts_per_s": 50.0 * cell["threads"] * cell["batch"], "p50_ms": 1.0, "p99_ms": 2.0, "tokenize_ms": 0.1}
        answer({"threads": cell["threads"], "batch": cell["batch"], **figures})
    return 0


def thalweg(words: list[str]) -> int:
    """Answers as the command does."""
    if words[0] == "--version":
        print("thalweg 0.0.0")
        return 0
    flags = dict(zip(words[1::2], words[2::2]))
    if words[0] == "embed":
        values = known(os.environ["FAKE_GOLDEN"])
        for index, line in enumerate(sys.stdin):
            print(json.dumps({"index": index, "tokens": 2, "embedding": values[json.loads(line)["text"]]}))
        return 0
    if os.environ.get("FAKE_THALWEG") == "fail":
        print("thalweg: cannot open device `metal`", file=sys.stderr)
        return 1
    time.sleep(float(os.environ.get("FAKE_SLEEP", "0")))
    batch = int(flags["--batch"])
    runs = [
        {"threads": int(count), "requests_per_s": 100.0 * int(count), "p50_ms": 1.0, "p99_ms": 2.0, "tokenize_ms": 0.1}
        for count in flags["--threads"].split(",")
    ]
    answer({"device": "Fake GPU", "commit": "abc", "runs": runs, "batch": batch})
    return 0


if __name__ == "__main__":
    fakes = ("good", "wrong", "racy", "crash", "hang", "fail", "garbage")
    sys.exit(peer(*sys.argv[1:]) if sys.argv[1] in fakes else thalweg(sys.argv[1:]))
