#!/usr/bin/env python3
"""Thalweg on Vulkan beside PyTorch on CUDA, in one interleaved run on one GPU.

  compare.py --model models/all-MiniLM-L6-v2 --thalweg target/release/thalweg --json raw.json
  compare.py --dry-run          what would be measured and about how long it takes; needs neither PyTorch nor a GPU
  compare.py --show raw.json    the tables of an earlier run

Tables go to standard output, progress to standard error. README.md says what is measured and how to read it.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

# What the comparisons share is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.children import ChildFailed
from common.machine import asked, commit_of, processor
from common.results import Results, Setting, reason
from common.thalweg import Thalweg
from measured import (
    BATCH_WAYS,
    COMPILED,
    GRAPH,
    GRAPH_OF_COMPILED,
    REDUCED,
    THALWEG,
    THREAD_WAYS,
    report,
)

if TYPE_CHECKING:
    from torch_side import TorchSide

START = time.monotonic()


class BudgetSpent(Exception):
    """The time for the whole run is up."""


@dataclass
class Unit:
    """What is measured together: one shape, from one thread count or from several."""

    tokens: int
    batch: int
    threads: list[int]

    def torch_settings(self) -> list[Setting]:
        """PyTorch's ways for this shape, each once."""
        many = [Setting(way, self.tokens, 1, count) for count in self.threads for way in THREAD_WAYS]
        alone = [Setting(way, self.tokens, self.batch, 1) for way in BATCH_WAYS]
        return list(dict.fromkeys(many + alone if self.batch == 1 else alone))

    def thalweg_settings(self) -> list[Setting]:
        """One for each thread count."""
        return [Setting(THALWEG, self.tokens, self.batch, count) for count in self.threads]


def elapsed() -> float:
    """Seconds since the start of the program."""
    return time.monotonic() - START


def say(text: str) -> None:
    """A line of progress, so that a run that is cut off still tells how far it came."""
    print(f"[{elapsed():6.1f} s] {text}", file=sys.stderr, flush=True)


def numbers(text: str) -> list[int]:
    """A list of positive numbers, separated by commas."""
    found = sorted({int(word) for word in text.split(",")})
    if not found or found[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of positive numbers")
    return found


def parse() -> argparse.Namespace:
    """The command line."""
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--model", type=Path, default=root / "models/all-MiniLM-L6-v2", help="the model's directory")
    add("--thalweg", default=str(root / "target/release/thalweg"), help="the command to measure")
    add("--thalweg-device", default="vulkan", help="its --device")
    add("--thalweg-dtype", default="f16", help="its --dtype; '' passes none")
    add("--torch-device", default="cuda", help="'cpu' tries the script out, in f32")
    add("--tokens", type=numbers, default=[32, 128], help="lengths of the texts (32,128)")
    add("--threads", type=numbers, default=[1, 2, 4, 8, 16, 32, 64], help="for single requests (1,2,4,8,16,32,64)")
    add("--batches", type=numbers, default=[1, 8, 32, 128, 512], help="from one thread (1,8,32,128,512)")
    add("--rounds", type=int, default=5, help="at most so many (5)")
    add("--seconds", type=float, default=0.35, help="of each of PyTorch's measurements (0.35)")
    add("--thalweg-seconds", type=int, default=1, help="of each of Thalweg's measurements (1)")
    add("--budget", type=float, default=480, help="seconds for the whole run (480)")
    add("--compile-budget", type=float, default=130, help="seconds for all of torch.compile; 0 leaves it out (130)")
    add("--compile-limit", type=float, default=60, help="seconds for compiling one shape (60)")
    add("--commit", help="what `thalweg` was built from; default: git's answer")
    add("--json", type=Path, help="all raw numbers, written after each round")
    add("--skip-check", action="store_true", help="do not compare values first")
    add("--dry-run", action="store_true", help="print the plan and end")
    add("--show", type=Path, metavar="JSON", help="print the tables of raw numbers and end")
    return parser.parse_args()


def machine(commit: str | None) -> dict[str, str]:
    """What the numbers depend on, as far as it is known before PyTorch is there."""
    gpu = asked(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"])
    return {
        "GPU": gpu or "unknown",
        "CPUs": processor(),
        "system": f"{platform.system()} {platform.release()}",
        "commit": commit or commit_of(Path(__file__).parent),
        "Python": platform.python_version(),
    }


class Run:
    """One run: preparation, rounds, report."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.results = Results(machine(options.commit))
        self.thalweg = Thalweg(
            options.thalweg, options.model, options.thalweg_device, options.thalweg_dtype, options.thalweg_seconds
        )
        self.units = [
            Unit(tokens, batch, options.threads if batch == 1 else [1])
            for tokens in options.tokens
            for batch in sorted({1, *options.batches})
        ]
        self.split: set[tuple[int, int]] = set()
        self.torch: TorchSide | None = None

    # Time

    def left(self) -> float:
        """Seconds that remain of the budget."""
        return float(self.options.budget) - elapsed()

    def round_estimate(self) -> float:
        """About how long a round takes, in seconds."""
        each: float = self.options.seconds * 1.2 + 0.05
        settings = [setting for unit in self.units for setting in unit.torch_settings()]
        ours = sum(each for setting in settings if setting not in self.results.failures)
        return ours + sum(self.thalweg.estimate(unit.threads) for unit in self.units)

    def plan(self) -> str:
        """For people."""
        one, compiling = self.round_estimate(), self.options.compile_budget

        def fit(seconds: float) -> int:
            wanted: int = self.options.rounds
            return min(wanted, int(max(0.0, seconds) / one))

        lines = [
            f"budget {self.options.budget:.0f} s: preparation about 45 s, torch.compile at most {compiling:.0f} s, "
            f"a round about {one:.0f} s; {fit(self.left() - 45 - compiling)} to {fit(self.left() - 45)} rounds fit"
        ]
        for unit in self.units:
            lines.append(f"  {unit.batch} x {unit.tokens}: {len(unit.torch_settings())} measurements of PyTorch, then")
            lines.append("    " + " ".join(self.thalweg.bench_command(unit.tokens, unit.batch, unit.threads)))
        return "\n".join(lines)

    # Preparation

    def prepare(self) -> None:
        """Loads, compares values, compiles, captures."""
        # Streams of many threads share this many queues to the device; PyTorch's default is fewer.
        os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
        say("loading PyTorch")
        try:
            import torch

            from torch_side import TorchSide

            if self.options.torch_device == "cpu":
                torch.set_num_threads(1)
            side = TorchSide(self.options.model, self.options.torch_device, self.results.failures, say)
        except Exception as error:  # Thalweg can be measured without.
            self.without_torch(reason(error))
            return
        self.torch = side
        self.results.machine |= {
            "PyTorch": f"{torch.__version__}, CUDA {torch.version.cuda}, {side.chosen}",
        }
        if not self.options.skip_check:
            self.check(side)
        for unit in self.units:
            side.warm(unit.tokens, unit.batch)
        self.compile(side)
        for unit in self.units:
            for way in (GRAPH, GRAPH_OF_COMPILED):
                side.capture(way, unit.tokens, unit.batch)
        for unit in self.units:
            if unit.batch == 1:
                side.prepare_threads(unit.tokens, unit.threads)

    def without_torch(self, why: str) -> None:
        """Marks all of PyTorch's cells."""
        say(f"PyTorch: {why}")
        self.results.notes.append(f"PyTorch {why}")
        for unit in self.units:
            self.results.failures |= {setting: "no PyTorch" for setting in unit.torch_settings()}

    def check(self, side: TorchSide) -> None:
        """Compares values; a difference is reported with the numbers, which are then worth nothing."""
        from check import check

        try:
            lines = check(self.options.model, side.model, side.device, self.thalweg)
        except Exception as error:  # A comparison that breaks must not cost the measurements.
            lines = [f"values not compared: {reason(error)}"]
        for line in lines:
            say(line)
        self.results.notes += lines

    def compile(self, side: TorchSide) -> None:
        """Compiles each shape while the time for it lasts, the plain mode first; the rest say why they are missing."""
        until = elapsed() + min(self.options.compile_budget, self.left() - 30 - 2 * self.round_estimate())
        for way in (COMPILED, REDUCED):
            for unit in self.units:
                limit = min(self.options.compile_limit, until - elapsed())
                if limit < 3:
                    why = "no time left for compiling" if self.options.compile_budget else "not asked for"
                    side.fail(Setting(way, unit.tokens, unit.batch, 1), why)
                else:
                    side.compile(way, unit.tokens, unit.batch, limit)

    # Measuring

    def rounds(self) -> None:
        """As many complete rounds as fit."""
        longest = self.round_estimate()
        say(f"a round takes about {longest:.0f} s")
        for number in range(self.options.rounds):
            if number and self.left() < longest * 1.05:
                say(f"no time for another round: {self.left():.0f} s left")
                return
            begun = elapsed()
            for unit in self.units:
                sides: list[Callable[[Unit, int], None]] = [self.measure_torch, self.measure_thalweg]
                # Who begins takes turns, so that neither always meets a colder GPU.
                for side in sides if number % 2 == 0 else reversed(sides):
                    side(unit, number)
            took = elapsed() - begun
            longest = max(took, longest) if number else took
            self.results.complete_rounds += 1
            self.write()
            say(f"round {number + 1} of {self.options.rounds}: {took:.0f} s")

    def check_time(self) -> None:
        """Ends the run when the budget is spent within a round."""
        if self.left() < 3:
            raise BudgetSpent

    def measure_torch(self, unit: Unit, number: int) -> None:
        """All of PyTorch's ways that work, for one unit."""
        for setting in unit.torch_settings():
            if self.torch is None or setting in self.results.failures:
                continue
            self.check_time()
            try:
                sample = self.torch.measure(setting, self.options.seconds, self.options.seconds * 0.2)
            except Exception as error:  # Out of memory, say: the others go on.
                self.results.failures[setting] = reason(error)
                say(f"{setting}: {self.results.failures[setting]}")
                continue
            self.results.add(setting, number, sample)
        say(f"round {number + 1}, {unit.batch} x {unit.tokens}: PyTorch")

    def measure_thalweg(self, unit: Unit, number: int) -> None:
        """One child for all thread counts; after a failure, one for each, so that one count costs only itself."""
        wanted = [setting for setting in unit.thalweg_settings() if setting not in self.results.failures]
        key = (unit.tokens, unit.batch)
        if wanted and key not in self.split and not self.measure_child(wanted, number, len(wanted) == 1):
            self.split.add(key)
        if key in self.split:
            for setting in wanted:
                self.measure_child([setting], number, True)
        say(f"round {number + 1}, {unit.batch} x {unit.tokens}: Thalweg")

    def measure_child(self, wanted: list[Setting], number: int, final: bool) -> bool:
        """Runs one child. A failure that is final goes into its cell."""
        self.check_time()
        tokens, batch = wanted[0].tokens, wanted[0].batch
        try:
            document, samples = self.thalweg.bench(tokens, batch, [setting.threads for setting in wanted], self.left())
        except (ChildFailed, ValueError, KeyError) as error:
            say(f"Thalweg, {batch} x {tokens}: {error}")
            if self.left() < 3:
                raise BudgetSpent from error
            if final:
                self.results.failures[wanted[0]] = reason(error)
            return final
        self.results.machine["Thalweg"] = f"commit {document['commit']} on {document['device']}"
        for setting, sample in zip(wanted, samples, strict=True):
            self.results.add(setting, number, sample)
        return True

    # The end

    def write(self) -> None:
        """The raw numbers so far."""
        if self.options.json:
            self.results.write(self.options.json)

    def finish(self) -> int:
        """Prints what there is."""
        self.write()
        print(report(self.results), flush=True)
        wrong = any(note.startswith("WRONG") for note in self.results.notes)
        say(f"{self.results.complete_rounds} complete rounds" + ("; VALUES ARE WRONG, see the notes" if wrong else ""))
        return 1 if wrong or not self.results.samples else 0


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Ends the run with what there is, as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> int:
    """The command."""
    options = parse()
    if options.show:
        print(report(Results.read(options.show)))
        return 0
    run = Run(options)
    if options.dry_run:
        print(run.plan())
        return 0
    signal.signal(signal.SIGTERM, interrupt)
    say(run.plan().partition("\n")[0])
    try:
        run.prepare()
        run.rounds()
    except KeyboardInterrupt:
        run.results.notes.append(f"stopped by hand after {elapsed():.0f} s")
    except BudgetSpent:
        run.results.notes.append(f"stopped within round {run.results.complete_rounds + 1}: the budget was spent")
    except Exception as error:  # Whatever was measured until then is still worth printing.
        traceback.print_exc()
        run.results.notes.append(f"broken off: {reason(error)}")
    return run.finish()


if __name__ == "__main__":
    sys.exit(main())
