"""What the Python peers share: one request on standard input, an answer on each line of standard output.

README.md has the protocol. A peer is a `Model` and a function that loads it; `serve` does the rest. It embeds the
texts with known values, from as many threads as will be measured. Then it measures each cell in a closed loop. A
request starts from text and ends with values on the host.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

# What the comparisons share is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.loop import ClosedLoop, TimeLimitExceeded, time_limit
from common.texts import Texts

# The ids of a batch's texts, all of one length.
Ids = list[list[int]]
Embed = Callable[[Ids], Any]
# How many different requests a thread goes through. They are made before: Python would be slow at it in between.
REQUESTS = 16
# How much longer it is measured when no request ended.
LONGER = (1, 4, 16)
# What is tried out for each form: texts in a request, by the name of the choice.
TRIED = {"single": 1, "many": 64}


class Unavailable(Exception):
    """The peer is not here, or not for this device."""


class Model:
    """A loaded model. Forms are ways to compute the same."""

    name = ""
    version = ""
    device = ""
    # The first is used unless another was found to be faster.
    forms: tuple[str, ...] = ()
    # Those that several threads may call at once.
    threaded: tuple[str, ...] = ()

    def prepare(self, form: str) -> None:
        """Makes a form ready. Called before threads are started: libraries import and compile badly in several at once."""

    def thread(self, form: str) -> AbstractContextManager[Embed]:
        """What one thread needs to call the model in a form; entered in that thread. Its values are on the host."""
        raise NotImplementedError

    def rows(self, values: Any) -> list[list[float]]:
        """Values as lists, a row for each text."""
        raise NotImplementedError


def answer(document: dict[str, Any]) -> None:
    """One line of the answer."""
    print(json.dumps(document), flush=True)


def fault(error: BaseException) -> str:
    """An error as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


class Tokenizer:
    """Texts to ids, truncated and without padding."""

    def __init__(self, model: Path) -> None:
        import tokenizers

        self.inner = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
        limits = json.loads((model / "sentence_bert_config.json").read_text(encoding="utf-8"))
        self.inner.enable_truncation(max_length=limits["max_seq_length"])
        self.inner.no_padding()
        # Without the places of the words in the text, where the package can leave them out.
        self.batch = getattr(self.inner, "encode_batch_fast", self.inner.encode_batch)

    def ids(self, texts: list[str]) -> Ids:
        """The ids of each text."""
        return [found.ids for found in self.batch(texts)]


class Peer:
    """One request, answered."""

    def __init__(self, request: dict[str, Any], model: Model) -> None:
        self.request = request
        self.model = model
        self.tokenizer = Tokenizer(Path(request["model"]))
        self.texts = Texts(request["words"], request["tokens"])
        self.state: dict[str, str] = request.get("state") or {}

    def form(self, threads: int, batch: int) -> str:
        """What was found to be the fastest for such requests."""
        if threads > 1:
            return self.state.get("threads", self.model.threaded[0])
        return self.state.get("single" if batch < 8 else "many", self.model.forms[0])

    # Values

    def check(self, texts: list[str], threads: int) -> list[list[float]]:
        """The texts' embeddings: from one thread in batches of equal length, from several one by one, all at once."""
        ids = self.tokenizer.ids(texts)
        found: dict[int, list[float]] = {}
        if threads == 1:
            by_length: dict[int, list[int]] = {}
            for index, one in enumerate(ids):
                by_length.setdefault(len(one), []).append(index)
            shares = [list(by_length.values())]
        else:
            shares = [[[index] for index in range(number, len(ids), threads)] for number in range(threads)]
        errors: list[BaseException] = []
        gate = threading.Barrier(threads)
        # A form that is not for threads may be made for one shape at a time, and these texts have many.
        form = self.form(threads, len(ids))
        form = form if form in self.model.threaded else self.model.threaded[0]
        self.model.prepare(form)

        def work(share: list[list[int]]) -> None:
            try:
                with self.model.thread(form) as embed:
                    gate.wait(60)
                    for batch in share:
                        rows = self.model.rows(embed([ids[index] for index in batch]))
                        found.update(zip(batch, rows))
            except BaseException as error:  # Raised again where the threads are joined.
                errors.append(error)
                gate.abort()

        if threads == 1:
            work(shares[0])
        else:
            workers = [threading.Thread(target=work, args=(share,), daemon=True) for share in shares]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        if errors:
            # Those who waited at a gate that another one left open have nothing to say.
            raise next((error for error in errors if not isinstance(error, threading.BrokenBarrierError)), errors[0])
        return [found[index] for index in range(len(ids))]

    # Measuring

    def measure(self, threads: int, batch: int, seconds: float, form: str | None = None) -> dict[str, Any]:
        """One cell."""
        form = form or self.form(threads, batch)
        self.model.prepare(form)
        if form not in self.model.threaded:
            self.expect_same(form, batch)
        last: dict[int, Any] = {}
        tokenizing: list[tuple[int, float]] = []

        @contextmanager
        def session(number: int) -> Iterator[Callable[[], None]]:
            requests = self.texts.requests(threads, number, batch, REQUESTS)
            turn, spent = 0, 0.0

            def request() -> None:
                nonlocal turn, spent
                texts = requests[turn % REQUESTS]
                turn += 1
                begun = time.perf_counter()
                ids = self.tokenizer.ids(texts)
                spent += time.perf_counter() - begun
                last[number] = embed(ids)

            with self.model.thread(form) as embed:
                yield request
            tokenizing.append((turn, spent))

        for longer in LONGER:
            window = seconds * longer
            latencies = sorted(ClosedLoop(threads, window, min(window / 4, 1.0)).run(session))
            if latencies:
                break
        else:
            raise RuntimeError(f"no request ended within {window:.0f} s")
        for values in last.values():
            if not all(math.isfinite(value) for row in self.model.rows(values) for value in row):
                raise RuntimeError("a value is not finite")
        return {
            "threads": threads,
            "batch": batch,
            "texts_per_s": len(latencies) * batch / window,
            "p50_ms": latencies[len(latencies) // 2] * 1e3,
            "p99_ms": latencies[len(latencies) * 99 // 100] * 1e3,
            "tokenize_ms": sum(time for _, time in tokenizing) * 1e3 / sum(count for count, _ in tokenizing),
        }

    def expect_same(self, form: str, batch: int) -> None:
        """Refuses a form that computes something else, for this batch, than the form that has been compared."""
        ids = self.tokenizer.ids(self.texts.requests(1, 0, batch, 1)[0])
        found = []
        for one in (form, self.model.threaded[0]):
            with self.model.thread(one) as embed:
                found.append(self.model.rows(embed(ids)))
        for row, expected in zip(*found):
            # Both have the length 1. Written so that NaN is refused.
            cosine = sum(a * b for a, b in zip(row, expected))
            if not cosine >= 0.999:
                raise RuntimeError(f"{form} gives other values than {self.model.threaded[0]}: cosine {cosine:.4f}")

    def choose(self, limit: float) -> None:
        """Tries each form out. The choice so far is answered after each, in case that the next ends the process."""
        rates: dict[str, dict[str, float]] = {key: {} for key in TRIED}
        faults: dict[str, str] = {}
        for form in self.model.forms:
            try:
                for key, batch in TRIED.items():
                    with time_limit(limit):
                        tries = [self.measure(1, batch, 0.5, form)["texts_per_s"] for _ in range(2)]
                    rates[key][form] = max(tries)
            except (Exception, TimeLimitExceeded) as error:  # The others are there.
                faults[form] = fault(error)
            state = {key: max(found, key=lambda form: found[form]) for key, found in rates.items() if found}
            safe = {form: rate for form, rate in rates["single"].items() if form in self.model.threaded}
            if safe:
                state["threads"] = max(safe, key=lambda form: safe[form])
            answer({"state": state, "rates": rates, "faults": faults})

    def run(self) -> None:
        """Does what is asked for."""
        if self.request["do"] == "choose":
            return self.choose(self.request["limit"])
        cells = self.request["cells"]
        if self.request["texts"]:
            threads = max((cell["threads"] for cell in cells), default=1)
            answer({"embeddings": self.check(self.request["texts"], threads)})
        for cell in cells:
            try:
                answer(self.measure(cell["threads"], cell["batch"], cell["seconds"]))
            except Exception as error:  # Out of memory, say: the next cell may do.
                answer({"threads": cell["threads"], "batch": cell["batch"], "error": fault(error)})


def serve(load: Callable[[dict[str, Any]], Model]) -> int:
    """Answers the request on standard input. `load` gets it; `Unavailable` or `ImportError` says that it cannot be met."""
    request = json.load(sys.stdin)
    # Standard output is the answer's alone, whatever a library prints.
    sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        model = load(request)
        peer = Peer(request, model)
    except (ImportError, Unavailable) as error:
        answer({"unavailable": str(error)})
        return 0
    answer({"ready": {"name": model.name, "version": model.version, "device": model.device}})
    peer.run()
    return 0
