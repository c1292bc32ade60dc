"""PyTorch's side: each way of making a request, prepared once and measured in a closed loop.

A request: token ids in the host's (pinned) memory, to the device, through the model, embeddings back in the host's
memory. Compiling and capturing happen in the preparation; what fails there is remembered and not tried again.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from torch import Tensor

from common.bert import PlainBert, TransformersBert
from common.loop import ClosedLoop, Request, TimeLimitExceeded, time_limit
from common.results import Sample, Setting, reason
from measured import COMPILED, EAGER, GRAPH, GRAPH_EACH, GRAPH_OF_COMPILED, REDUCED, STREAMS

# How many different inputs a thread goes through.
INPUTS = 16


class Graph:
    """One captured forward pass with its own input, output and stream."""

    def __init__(self, forward: Callable[[Tensor], Tensor], ids: Tensor) -> None:
        """Captures for the shape of `ids`, which are on the device."""
        self.stream = torch.cuda.Stream()
        self.ids = ids.clone()
        torch.cuda.synchronize()
        with torch.cuda.stream(self.stream):
            # Libraries set themselves up for this stream, which must not happen inside the capture.
            for _ in range(3):
                forward(self.ids)
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            self.graph.capture_begin()
            try:
                self.out = forward(self.ids)
            except BaseException:
                self._abandon()
                raise
            self.graph.capture_end()
            self.graph.replay()
        torch.cuda.synchronize()

    def _abandon(self) -> None:
        """Ends a capture that failed, so that the next can begin; the first failure is the one to report."""
        try:
            self.graph.capture_end()
        except RuntimeError:
            pass

    def run(self, ids: Tensor, host: Tensor) -> None:
        """One request."""
        self.ids.copy_(ids, non_blocking=True)
        self.graph.replay()
        host.copy_(self.out)


class TorchSide:
    """The model on a device, and all that was compiled and captured for it."""

    def __init__(self, model_dir: Path, device: str, failures: dict[Setting, str], say: Callable[[str], None]) -> None:
        self.device = torch.device(device)
        self.cuda = self.device.type == "cuda"
        self.say = say
        self.failures = failures
        # The CPU is for trying the script out.
        dtype = torch.float16 if self.cuda else torch.float32
        plain = PlainBert(model_dir, self.device, dtype)
        self.vocabulary, self.width = plain.words.shape
        self.inputs: dict[tuple[int, int], list[Tensor]] = {}
        self.streams: list[torch.cuda.Stream] = []
        self.graphs: dict[Setting, Graph] = {}
        self.each: dict[int, list[Graph]] = {}
        self.compiled: dict[str, Callable[[Tensor], Tensor]] = {}
        if self.cuda:
            self._first_capture()
        self.model: PlainBert | TransformersBert = plain
        self._choose(plain, model_dir, dtype)
        for name, value in (("recompile_limit", 256), ("accumulated_recompile_limit", 1024)):
            if hasattr(torch._dynamo.config, name):
                setattr(torch._dynamo.config, name, value)
        if hasattr(torch._dynamo.config, "fail_on_recompile_limit_hit"):
            torch._dynamo.config.fail_on_recompile_limit_hit = True

    def _choose(self, plain: PlainBert, model_dir: Path, dtype: torch.dtype) -> None:
        """Takes the faster of the two forms of the model, by eager single requests."""
        setting = Setting(EAGER, 32, 1, 1)
        rates: dict[str, float] = {}
        try:
            other = TransformersBert(model_dir, self.device, dtype)
        except Exception as error:  # Whatever keeps it from loading, the plain form is there.
            self.chosen = f"{plain.label} (transformers: {reason(error)})"
            self.say(f"PyTorch's model: {self.chosen}")
            return
        for model in (plain, other, plain, other):
            self.model = model
            rate = self.measure(setting, 0.3, 0.1).texts_per_s
            rates[model.label] = max(rate, rates.get(model.label, 0.0))
        self.model = plain if rates[plain.label] >= rates[other.label] else other
        found = ", ".join(f"{label} {rate:.0f}" for label, rate in rates.items())
        self.chosen = f"{self.model.label} (eager single requests/s: {found})"
        self.say(f"PyTorch's model: {self.chosen}")

    def _first_capture(self) -> None:
        """Makes the state that all captures share. Made in inference mode, it could not be written outside of it."""
        try:
            Graph(torch.neg, torch.zeros(1, device=self.device))
        except RuntimeError as error:  # The later captures then fail in their own cells.
            self.say(f"a first small graph: {reason(error)}")

    def sync(self) -> None:
        """Waits for the device."""
        if self.cuda:
            torch.cuda.synchronize()

    def ids(self, tokens: int, batch: int) -> list[Tensor]:
        """Random token ids in host memory that the device can copy from by itself."""
        key = (tokens, batch)
        if key not in self.inputs:
            made = [torch.randint(self.vocabulary, (batch, tokens)) for _ in range(INPUTS)]
            self.inputs[key] = [ids.pin_memory() for ids in made] if self.cuda else made
        return self.inputs[key]

    # Preparation

    def attempt(self, what: str, settings: list[Setting], limit: float, work: Callable[[], None]) -> bool:
        """Does one part of the preparation; a failure is remembered for its settings."""
        begun = time.perf_counter()
        try:
            with time_limit(limit), torch.inference_mode():
                work()
                self.sync()
        except (Exception, TimeLimitExceeded) as error:
            self.failures |= {setting: reason(error) for setting in settings}
            self.say(f"{what}: {reason(error)}")
            if self.cuda:
                torch.cuda.empty_cache()
            return False
        self.say(f"{what}: {time.perf_counter() - begun:.1f} s")
        return True

    def fail(self, setting: Setting, why: str) -> None:
        """Marks a setting as not to be measured."""
        self.failures[setting] = why

    def expect_same(self, found: Tensor, ids: Tensor) -> None:
        """Refuses a compiled or captured model that computes something else than the eager one."""
        expected = self.model(ids.to(self.device)).cpu()
        cosine = torch.nn.functional.cosine_similarity(found.cpu(), expected).min().item()
        # Written so that NaN is refused.
        if not cosine >= 0.999:
            raise ValueError(f"values differ from the eager model's: cosine {cosine:.4f}")

    def warm(self, tokens: int, batch: int) -> None:
        """First eager requests of a shape."""
        ids = self.ids(tokens, batch)[0]

        def work() -> None:
            for _ in range(3):
                self.model(ids.to(self.device))

        self.attempt(f"eager, {batch} x {tokens}", [Setting(EAGER, tokens, batch, 1)], 60, work)

    def compile(self, way: str, tokens: int, batch: int, limit: float) -> bool:
        """Compiles the model for one shape, in the given time."""
        if way not in self.compiled:
            mode = "default" if way == COMPILED else "reduce-overhead"
            self.compiled[way] = torch.compile(self.model, mode=mode, dynamic=False)
        function, ids = self.compiled[way], self.ids(tokens, batch)[0]

        def work() -> None:
            # Reduce-overhead needs two calls before it replays.
            for _ in range(4):
                torch.compiler.cudagraph_mark_step_begin()
                found = function(ids.to(self.device)).cpu()
            self.expect_same(found, ids)

        return self.attempt(f"{way}, {batch} x {tokens}", [Setting(way, tokens, batch, 1)], limit, work)

    def capture(self, way: str, tokens: int, batch: int) -> None:
        """Captures a graph of the eager or of the compiled model for one shape."""
        setting = Setting(way, tokens, batch, 1)
        compiled = Setting(COMPILED, tokens, batch, 1)
        if not self.cuda:
            return self.fail(setting, "needs CUDA")
        if way == GRAPH_OF_COMPILED and (COMPILED not in self.compiled or compiled in self.failures):
            return self.fail(setting, "not compiled")
        forward = self.compiled[COMPILED] if way == GRAPH_OF_COMPILED else self.model
        ids = self.ids(tokens, batch)[0]

        def work() -> None:
            gc.collect()
            self.graphs[setting] = self._captured(forward, ids)

        self.attempt(f"{way}, {batch} x {tokens}", [setting], 60, work)

    def _captured(self, forward: Callable[[Tensor], Tensor], ids: Tensor) -> Graph:
        graph = Graph(forward, ids.to(self.device))
        self.expect_same(graph.out, ids)
        return graph

    def prepare_threads(self, tokens: int, threads: list[int]) -> None:
        """A stream and a graph for each thread; of the compiled model if its graph is the faster one."""
        streams = [Setting(STREAMS, tokens, 1, count) for count in threads]
        settings = [Setting(GRAPH_EACH, tokens, 1, count) for count in threads]
        if not self.cuda:
            for setting in streams + settings:
                self.fail(setting, "needs CUDA")
            return
        while len(self.streams) < max(threads):
            self.streams.append(torch.cuda.Stream())
        plain, fused = (Setting(way, tokens, 1, 1) for way in (GRAPH, GRAPH_OF_COMPILED))
        ids = self.ids(tokens, 1)[0]

        def work() -> None:
            forward: Callable[[Tensor], Tensor] = self.model
            if plain in self.graphs and fused in self.graphs and self._median(fused) < self._median(plain):
                forward = self.compiled[COMPILED]
            self.say(f"a graph each, 1 x {tokens}: of the {'eager' if forward is self.model else 'compiled'} model")
            # A graph that is collected during another's capture would break it.
            gc.collect()
            self.each[tokens] = []
            for _ in range(max(threads)):
                self.each[tokens].append(self._captured(forward, ids))

        self.attempt(f"{max(threads)} graphs, 1 x {tokens}", settings, 90, work)

    def _median(self, setting: Setting) -> float:
        """A short look at which of two is faster: the median time of a request, of three tries."""
        return statistics.median(self.measure(setting, 0.1, 0.05).p50_ms for _ in range(3))

    # Measuring

    @contextmanager
    def session(self, setting: Setting, number: int) -> Iterator[Request]:
        """A thread's requests, one for each call. To be opened in the thread that makes them."""
        pool = self.ids(setting.tokens, setting.batch)
        host = torch.empty(setting.batch, self.width, pin_memory=self.cuda)
        turn = number
        stream: AbstractContextManager[Any] = nullcontext()
        graph: Graph | None = None
        if setting.way == GRAPH_EACH:
            graph = self.each[setting.tokens][number]
        elif setting.way in (GRAPH, GRAPH_OF_COMPILED):
            graph = self.graphs[setting]
        elif setting.way == STREAMS:
            stream = torch.cuda.stream(self.streams[number])
        if graph:
            stream = torch.cuda.stream(graph.stream)
        forward = self.compiled.get(setting.way, self.model)
        reduced = setting.way == REDUCED

        def replay() -> None:
            nonlocal turn
            turn += 1
            graph.run(pool[turn % INPUTS], host)

        def call() -> None:
            nonlocal turn
            turn += 1
            if reduced:
                torch.compiler.cudagraph_mark_step_begin()
            host.copy_(forward(pool[turn % INPUTS].to(self.device, non_blocking=True)))

        with torch.inference_mode(), stream:
            yield replay if graph else call

    def measure(self, setting: Setting, seconds: float, warm_up: float) -> Sample:
        """One measurement. Raises whatever a request raises."""
        loops = ClosedLoop(setting.threads, seconds, warm_up)
        latencies = loops.run(lambda number: self.session(setting, number))
        self.sync()
        if not latencies:
            raise RuntimeError(f"no request ended within {seconds} s")
        latencies.sort()
        return Sample(
            texts_per_s=len(latencies) * setting.batch / seconds,
            p50_ms=latencies[len(latencies) // 2] * 1e3,
            p99_ms=latencies[len(latencies) * 99 // 100] * 1e3,
        )
