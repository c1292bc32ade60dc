#!/usr/bin/env python3
"""Thalweg beside PyTorch on MPS, MLX and candle, in one interleaved run on one Mac.

  compare.py --json apple.json      everything that is installed; what is not says so in its cells
  compare.py --dry-run              what would be measured, and about how long it takes
  compare.py --show apple.json      the tables of an earlier run
  compare.py --device cpu --rounds 1 --threads 1,2 --batches 1,8
                                    to try it out on any machine

Tables go to standard output, progress to standard error. README.md says what is measured and how to read it. Exit
codes: 0 done, 1 Thalweg has no figure for something, or nothing was measured, 2 wrong usage. What fails of the others
is no fault.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType

# What the comparisons share is beside this folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common.children import FAILED, ChildFailed
from common.machine import apple, commit_of, power, processor
from common.results import Results, Setting, reason
from common.texts import SPECIAL_IDS, single_words
from report import THALWEG, report
from sides import Cell, Common, PeerSide, Side, ThalwegSide

START = time.monotonic()
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Where docs/apple.md has PyTorch and MLX installed.
VENV = ROOT / "target/apple-venv/bin/python"
CANDLE = HERE / "candle/target/release/thalweg-bench-candle"


def say(text: str) -> None:
    """A line of progress, so that a run that is cut off still tells how far it came."""
    print(f"[{time.monotonic() - START:6.1f} s] {text}", file=sys.stderr, flush=True)


def numbers(text: str) -> list[int]:
    """A list of positive numbers, separated by commas."""
    try:
        found = sorted({int(word) for word in text.split(",")})
    except ValueError:
        found = [0]
    if found[0] < 1 or found[-1] > 4096:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers from 1 to 4096")
    return found


def positive(text: str) -> float:
    """A number of seconds."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.0 < found < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return found


def named(text: str) -> tuple[str, list[str]]:
    """NAME=COMMAND."""
    name, equals, command = text.partition("=")
    if not (name and equals and shlex.split(command)):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COMMAND")
    return name, shlex.split(command)


def dtypes(text: str) -> list[str]:
    """A list of data types."""
    found = list(dict.fromkeys(text.split(",")))
    if not set(found) <= {"f16", "f32"}:
        raise argparse.ArgumentTypeError(f"{text!r}: data types are f16 and f32")
    return found


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    add("--model", type=Path, default=ROOT / "models/all-MiniLM-L6-v2", help="the model's directory")
    add("--golden", type=Path, default=ROOT / "crates/models/tests/data/minilm.jsonl", help="texts with known values")
    add("--thalweg", default=str(target / "release/thalweg"), help="the command to measure")
    add("--device", choices=["gpu", "cpu"], default="gpu", help="'cpu' tries the script out (gpu)")
    add("--thalweg-device", help="its --device (metal, or cpu with --device cpu)")
    add("--dtypes", type=dtypes, help="f16,f32 (both; f32 with --device cpu)")
    python = str(VENV) if VENV.exists() else sys.executable
    add("--python", default=python, help="the one that has PyTorch and MLX (of target/apple-venv, else this one)")
    add("--candle", metavar="COMMAND", default=str(CANDLE), help="candle's peer, as README.md has it")
    add("--peer", type=named, action="append", default=[], metavar="NAME=COMMAND", help="one more; may be repeated")
    add("--only", help="names of those to measure: thalweg,torch,mlx,candle and those of --peer (all)")
    add("--tokens", type=int, default=32, help="length of the texts (32)")
    add("--threads", type=numbers, default=[1, 2, 4, 8, 16, 32, 64], help="for single texts (1,2,4,8,16,32,64)")
    add("--batches", type=numbers, default=[1, 2, 4, 8, 16, 32, 64, 128, 256, 512], help="from one thread (1,2,...,512)")
    add("--rounds", type=int, default=3, help="how often everything is measured (3)")
    add("--seconds", type=positive, default=1.0, help="of each measurement; large batches take longer (1)")
    add("--limit", type=positive, default=120.0, help="seconds of silence after which a process has hung (120)")
    add("--commit", help="what is measured; default: git's answer")
    add("--json", type=Path, metavar="FILE", help="all raw numbers, for machines; written after each round")
    add("--dry-run", action="store_true", help="print the plan and end")
    add("--show", type=Path, metavar="FILE", help="print the tables of raw numbers and end")
    options = parser.parse_args(arguments)
    if options.show:
        return options
    options.dtypes = options.dtypes or (["f16", "f32"] if options.device == "gpu" else ["f32"])
    options.thalweg_device = options.thalweg_device or ("metal" if options.device == "gpu" else "cpu")
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least 1")
    if not SPECIAL_IDS < options.tokens <= 256:
        parser.error(f"--tokens {options.tokens}: from {SPECIAL_IDS + 1} to 256")
    for path in (options.model / "tokenizer.json", options.golden):
        if not path.is_file():
            parser.error(f"{path} is not there; scripts/fetch-model brings the model")
    if options.json and not options.json.resolve().parent.is_dir():
        parser.error(f"--json {options.json}: no such folder")
    options.commands = {
        "torch": [options.python, str(HERE / "peer_torch.py")],
        "mlx": [options.python, str(HERE / "peer_mlx.py")],
        "candle": shlex.split(options.candle),
        **dict(options.peer),
    }
    options.names = ["thalweg", *options.commands]
    if options.only:
        wanted = options.only.split(",")
        if not set(wanted) <= set(options.names):
            parser.error(f"--only {options.only}: there are {','.join(options.names)}")
        options.names = [name for name in options.names if name in wanted]
    return options


def machine(commit: str | None) -> dict[str, str]:
    """What the numbers depend on."""
    return {
        **(apple() or {"processor": processor()}),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "commit": commit or commit_of(HERE),
    }


class Run:
    """One run: values, rounds, report."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        golden = [json.loads(line) for line in options.golden.read_text(encoding="utf-8").splitlines()]
        words = single_words(options.model)
        common = Common(
            options.model, golden, words, options.tokens, options.device, options.seconds, options.limit
        )
        self.sides = [self._side(name, dtype, common) for name in options.names for dtype in options.dtypes]
        batches = [Cell(1, batch) for batch in sorted({1, *options.batches})]
        # A process for all batches, which one thread makes; one for each number of threads, since those may crash.
        self.groups = [batches, *([Cell(threads, 1)] for threads in options.threads if threads > 1)]
        self.results = Results(machine(options.commit))
        self.results.more = {
            "labels": [side.label for side in self.sides],
            "tokens": options.tokens,
            "threads": sorted({1, *options.threads}),
            "batches": [cell.batch for cell in batches],
            "golden": len(golden),
            "seconds": options.seconds,
            "about": {},
            "values": {},
            "power": [power()],
        }

        if options.device == "cpu":
            self.results.notes.append("on the processor, to try it out: nobody was set up for it, and figures mean little")

    def _side(self, name: str, dtype: str, common: Common) -> Side:
        options = self.options
        if name == "thalweg":
            return ThalwegSide(THALWEG, dtype, common, program=options.thalweg, selector=options.thalweg_device)
        who = {"torch": "PyTorch", "mlx": "MLX"}.get(name, name)
        # Those of --peer have no forms to choose from.
        chooses = name in ("torch", "mlx") and name not in dict(options.peer)
        return PeerSide(who, dtype, common, command=options.commands[name], chooses=chooses)

    def setting(self, side: Side, cell: Cell) -> Setting:
        """A cell of the tables."""
        return Setting(side.label, self.options.tokens, cell.batch, cell.threads)

    def plan(self) -> str:
        """For people."""
        # A process takes about this long to load; it then warms up for a quarter of the time that it measures.
        load = 4.0
        each = sum(load + 1.25 * sum(cell.seconds(self.options.seconds) for cell in cells) for cells in self.groups)
        total = each * len(self.sides) * self.options.rounds / 60
        lines = [f"{self.options.rounds} rounds of {len(self.sides)} sides, about {total:.0f} minutes if all are installed"]
        lines += [f"  {side.label}: {self._command(side)}" for side in self.sides]
        lines += ["  together: " + "; ".join(str(cell) for cell in cells) for cells in self.groups]
        return "\n".join(lines)

    def _command(self, side: Side) -> str:
        return side.program if isinstance(side, ThalwegSide) else " ".join(getattr(side, "command", []))

    def fail(self, side: Side, cells: list[Cell], error: ChildFailed) -> None:
        """A word into the cells, and what is behind it into the notes."""
        for cell in cells:
            self.results.failures[self.setting(side, cell)] = error.word
        which = str(cells[0]) if len(cells) == 1 else "all"
        note = f"{side.label}, {which}: {error.word}: {error}"
        say(note)
        self.results.notes.append(note)

    def check(self) -> None:
        """Values first: who has wrong ones is not measured."""
        for side in self.sides:
            try:
                values = side.check()
            except ChildFailed as error:
                self.results.more["values"][side.label] = {"word": error.word}
                self.fail(side, [cell for cells in self.groups for cell in cells], error)
            else:
                self.results.more["values"][side.label] = values._asdict()
                say(f"{side.label}: largest difference {values.difference:.2g}, lowest cosine {values.cosine:.7f}")
                side.choose()
                self.collect(side)
            self.results.more["about"][side.label] = side.about

    def collect(self, side: Side) -> None:
        """What a side found out by the way."""
        for note in side.notes:
            say(note)
        self.results.notes += side.notes
        side.notes.clear()
        self.results.more["about"][side.label] = side.about

    def rounds(self) -> None:
        """Everything, as often as asked for; a cell that failed is not tried again."""
        for number in range(self.options.rounds):
            begun = time.monotonic()
            for group, cells in enumerate(self.groups):
                # Who begins takes turns, so that nobody always meets the coldest machine.
                first = (number + group) % len(self.sides)
                for side in [*self.sides[first:], *self.sides[:first]]:
                    self.measure(side, cells, number)
            self.results.complete_rounds += 1
            self.write()
            say(f"round {number + 1} of {self.options.rounds}: {time.monotonic() - begun:.0f} s")

    def measure(self, side: Side, cells: list[Cell], number: int) -> None:
        """One side, one group."""
        wanted = [cell for cell in cells if self.setting(side, cell) not in self.results.failures]
        if not wanted:
            return
        for cell, outcome in side.measure(wanted):
            if isinstance(outcome, ChildFailed):
                self.fail(side, [cell], outcome)
            else:
                self.results.add(self.setting(side, cell), number, outcome)
                say(f"round {number + 1}, {side.label}, {cell}: {outcome.texts_per_s:.1f} texts/s")
        self.collect(side)

    def write(self) -> None:
        """The raw numbers so far."""
        if self.options.json:
            self.results.write(self.options.json)

    def finish(self) -> int:
        """Prints what there is."""
        self.results.more["power"].append(power())
        try:
            self.write()
        except OSError as error:
            say(f"{self.options.json}: {error.strerror}")
            return 1
        finally:
            print(report(self.results), flush=True)
        ours = any(setting.way.startswith(THALWEG) for setting in self.results.failures)
        whole = self.results.complete_rounds == self.options.rounds
        return 1 if ours or not whole or not self.results.samples else 0


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Ends the run with what there is, as Ctrl-C does."""
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """The command."""
    options = parse(arguments)
    if options.show:
        try:
            print(report(Results.read(options.show)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"compare.py: {options.show}: {reason(error)}", file=sys.stderr)
            return 1
        return 0
    run = Run(options)
    if options.dry_run:
        print(run.plan())
        return 0
    signal.signal(signal.SIGTERM, interrupt)
    say(run.plan().partition("\n")[0])
    try:
        run.check()
        run.rounds()
    except KeyboardInterrupt:
        run.results.notes.append(f"stopped by hand after {time.monotonic() - START:.0f} s")
    except Exception as error:  # Whatever was measured until then is still worth printing.
        traceback.print_exc()
        run.results.notes.append(f"broken off: {FAILED}: {reason(error)}")
    return run.finish()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
