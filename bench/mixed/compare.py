#!/usr/bin/env python3
"""Short calls beside batches: Thalweg (the example `mixed`) and ONNX Runtime in turn, cell by cell, and their ratios.

Builds nothing. README.md says what it needs and how to read it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
# What the comparisons share is beside this folder.
sys.path.insert(0, str(REPOSITORY / "bench"))

from common.children import ChildFailed, call
from common.machine import processor
from common.results import spread, table

START = time.monotonic()
THALWEG = "thalweg"
WAYS = "shared-2-block,shared-1-block"
# A child that takes longer hangs.
LIMIT = 600
FIGURES = ("p50", "p99", "texts_per_s", "kept")
LOWER_IS_BETTER = ("p50", "p99")
# One way's figures of a cell in a round.
Row = dict[str, Any]
Cell = tuple[int, int]


def busy_seconds() -> float | None:
    """What all processors have worked since the start, others' machines on them included; only Linux tells."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").partition("\n")[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, softirq, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def measured(work: Callable[[], list[Row]]) -> list[Row]:
    """Runs a child, and adds how many cores others took beside it."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    begun, busy, own = time.monotonic(), busy_seconds(), used()
    rows = work()
    after, own = busy_seconds(), used() - own
    others = None if busy is None or after is None else max(0.0, after - busy - own) / (time.monotonic() - begun)
    return [row | {"others": others} for row in rows]


def wait_for_others(limit: float, until: float) -> None:
    """Waits while other programs take more cores than that, at most until then. Without a limit there is no wait."""
    while limit < float("inf") and time.monotonic() < until:
        begun, busy = time.monotonic(), busy_seconds()
        if busy is None:
            return
        time.sleep(2)
        if ((busy_seconds() or busy) - busy) / (time.monotonic() - begun) <= limit:
            return


def thalweg(options: argparse.Namespace, cell: Cell) -> list[Row]:
    """One round of `mixed` at a cell."""
    callers, texts = cell
    command = [str(options.thalweg), "--model", str(options.model), "--callers", str(callers), "--texts", str(texts)]
    commit = ["--commit", options.commit] if options.commit else []
    document = json.loads(call([*command, "--pause", str(options.pause), "--rounds", "1", "--json", *commit], LIMIT))
    (figure,) = document["figures"]
    row = {name: figure[name]["median"] for name in FIGURES}
    return [row | {"way": THALWEG, "version": document["setting"]["commit"]}]


def onnx(options: argparse.Namespace, cell: Cell, ways: str) -> list[Row]:
    """Ways of the peer at a cell."""
    callers, texts = cell
    command = [options.python, str(Path(__file__).with_name("peer_onnx.py")), "--model", str(options.model)]
    command += ["--callers", str(callers), "--texts", str(texts), "--pause", str(options.pause), "--ways", ways]
    document = json.loads(call(command, LIMIT))
    return [row | {"version": f"ONNX Runtime {document['version']}"} for row in document["figures"]]


def rounds(options: argparse.Namespace) -> Iterator[Row]:
    """Everything, in turn, until the rounds or the time are over."""
    cells = [(callers, texts) for callers in options.callers for texts in options.texts]
    ways = options.ways.split(",")
    for number in range(options.rounds):
        for index, cell in enumerate(cells):
            wait_for_others(options.others, START + options.budget)
            if time.monotonic() - START > options.budget:
                return
            # A child for each way, so that what disturbs one does not count against another.
            sides = [partial(thalweg, options, cell), *(partial(onnx, options, cell, way) for way in ways)]
            # Who begins takes turns.
            first = (number + index) % len(sides)
            for side in [*sides[first:], *sides[:first]]:
                for row in measured(side):
                    row |= {"round": number, "callers": cell[0], "texts": cell[1]}
                    print(f"{time.monotonic() - START:.0f} s: {row}", file=sys.stderr, flush=True)
                    yield row


def quiet(rows: list[Row], limit: float) -> list[Row]:
    """The rows beside which nobody else took more cores than that; all where the system does not tell."""
    return [row for row in rows if row["others"] is None or row["others"] <= limit]


def best(rows: list[Row], figure: str) -> str | None:
    """The peer's way with the best median of a figure; each figure has its own, so that the peer is at its best."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["way"] != THALWEG:
            found.setdefault(row["way"], []).append(row[figure])
    choose = min if figure in LOWER_IS_BETTER else max
    return choose(found, key=lambda way: statistics.median(found[way]), default=None)


def ratios(rows: list[Row], figure: str, way: str | None) -> list[float]:
    """Thalweg's over the peer's, round by round."""
    ours = {row["round"]: row[figure] for row in rows if row["way"] == THALWEG}
    theirs = {row["round"]: row[figure] for row in rows if row["way"] == way}
    return [ours[number] / theirs[number] for number in ours if theirs.get(number)]


def form(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def report(rows: list[Row], limit: float) -> str:
    """Two tables: the figures of all ways, and Thalweg's over those of the peer's best way."""
    kept = quiet(rows, limit)
    figures, compared = [], []
    for cell in sorted({(row["callers"], row["texts"]) for row in rows}):
        here = [row for row in kept if (row["callers"], row["texts"]) == cell]
        name = f"{cell[0]} x {cell[1]}"
        if not here:
            compared.append([name, "0", *["disturbed"] * len(FIGURES)])
            continue
        for way in dict.fromkeys(row["way"] for row in sorted(here, key=lambda row: row["way"] != THALWEG)):
            values = [spread([row[figure] for row in here if row["way"] == way], form) for figure in FIGURES]
            figures.append([name, way, *values])
        count = len({row["round"] for row in here})
        line = [name, str(count)]
        for figure in FIGURES:
            way = best(here, figure)
            found = ratios(here, figure, way)
            line.append(f"{spread(found, form)} {way}" if found else "-")
        compared.append(line)
    versions = ", ".join(sorted({row["version"] for row in rows}))
    lines = [f"{processor()}; {versions}", ""]
    header = ["p50, ms", "p99, ms", "long texts/s", "kept"]
    lines += [*table(["callers x texts", "way", *header], figures), ""]
    return "\n".join([*lines, *table(["Thalweg's over", "rounds", *header], compared)])


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""

    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thalweg", type=Path, default=REPOSITORY / "target/release/examples/mixed")
    parser.add_argument("--commit", help="what that was built from, where its checkout cannot tell")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has onnxruntime")
    parser.add_argument("--model", type=Path, default=REPOSITORY / "models/all-MiniLM-L6-v2")
    parser.add_argument("--callers", type=numbers, default=[1, 2, 8], help="numbers of batch callers")
    parser.add_argument("--texts", type=numbers, default=[8, 32, 64], help="numbers of texts in a batch")
    parser.add_argument("--pause", type=int, default=50, help="milliseconds that the short caller pauses")
    parser.add_argument("--ways", default=WAYS, help=f"of the peer; peer_onnx.py says which there are [{WAYS}]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which no cell is begun")
    others = "wait while other programs take more cores than this; what they disturbed does not count"
    parser.add_argument("--others", type=float, default=float("inf"), help=others)
    parser.add_argument("--json", type=Path, help="a file for all raw numbers, a line each")
    parser.add_argument("--show", type=Path, help="measure nothing; the tables of such a file")
    return parser.parse_args(arguments)


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """To be ended is to be stopped by hand: the child goes too, and what there is gets printed."""
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    """The command."""
    options = parse(arguments)
    rows: list[Row] = []
    failed = False
    if options.show:
        rows = [json.loads(line) for line in options.show.read_text(encoding="utf-8").splitlines()]
    else:
        signal.signal(signal.SIGTERM, interrupt)
        try:
            for row in rounds(options):
                rows.append(row)
                if options.json:
                    options.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        except KeyboardInterrupt:
            print("stopped by hand", file=sys.stderr)
        except ChildFailed as error:
            # What was measured until then is still worth printing.
            print(f"compare.py: {error.word}: {error}", file=sys.stderr)
            failed = True
    print(report(rows, options.others))
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
