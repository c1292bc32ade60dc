#!/usr/bin/env python3
"""Tests of compare.py with sides that only pretend: python3 -m unittest discover bench/mixed. Needs only Python."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from compare import THALWEG, best, quiet, ratios, report

# Stands for `mixed`, and for the interpreter that is given the peer.
FAKE = """#!/bin/sh
case "$1" in
*peer_onnx.py)
    [ -z "$FAKE_FAILS" ] || { echo "error: no such operator" >&2; exit 1; }
    case "$*" in
    *"--ways one") figure='"way": "one", "p50": 4, "p99": 20, "texts_per_s": 50, "kept": 1' ;;
    *"--ways two") figure='"way": "two", "p50": 8, "p99": 10, "texts_per_s": 40, "kept": 1' ;;
    esac
    echo '{"version": "9.9", "figures": [{'"$figure"'}]}' ;;
*)
    echo '{"setting": {"commit": "abc"}, "figures": [
        {"p50": {"median": 2}, "p99": {"median": 5}, "texts_per_s": {"median": 100}, "kept": {"median": 0.5}}]}' ;;
esac
"""


def row(way: str, number: int, others: float | None = 0.0, **figures: float) -> dict[str, Any]:
    """A row of one cell."""
    same = {"p50": 1.0, "p99": 1.0, "texts_per_s": 1.0, "kept": 1.0, "version": "v", "callers": 1, "texts": 8}
    return same | {"way": way, "round": number, "others": others} | figures


class Tables(unittest.TestCase):
    """What is made of the rows."""

    def test_each_figure_has_the_peers_best_way(self) -> None:
        rows = [row("one", 0, p50=4, texts_per_s=50), row("two", 0, p50=8, texts_per_s=60), row(THALWEG, 0, p50=1)]
        self.assertEqual(best(rows, "p50"), "one")
        self.assertEqual(best(rows, "texts_per_s"), "two")
        self.assertIsNone(best([row(THALWEG, 0)], "p50"))

    def test_ratios_are_taken_within_a_round(self) -> None:
        rows = [row(THALWEG, 0, p50=2), row("one", 0, p50=4), row(THALWEG, 1, p50=9), row("one", 2, p50=1)]
        self.assertEqual(ratios(rows, "p50", "one"), [0.5])

    def test_what_others_disturbed_does_not_count(self) -> None:
        rows = [row(THALWEG, 0, 0.1), row("one", 0, 0.9), row(THALWEG, 1, 0.1), row("one", 1, 0.2, p50=2)]
        self.assertEqual(quiet(rows, 0.3), [rows[0], *rows[2:]])
        self.assertEqual(ratios(quiet(rows, 0.3), "p50", "one"), [0.5])
        # Where the system does not tell, all count.
        unknown = [row(THALWEG, 0, None), row("one", 0, None)]
        self.assertEqual(quiet(unknown, 0.3), unknown)

    def test_a_cell_that_was_always_disturbed_has_no_ratio(self) -> None:
        text = report([row(THALWEG, 0, 0.9), row("one", 0, 0.8)], 0.3)
        self.assertIn("| 1 x 8 | 0 | disturbed |", text)


class Runs(unittest.TestCase):
    """Whole runs with fakes."""

    def run_it(self, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs it in a folder of its own, which has the fake."""
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        folder = Path(held.name)
        fake = folder / "fake"
        fake.write_text(FAKE, encoding="utf-8")
        fake.chmod(0o755)
        self.json = folder / "raw.jsonl"
        command = [sys.executable, str(HERE / "compare.py"), "--thalweg", str(fake), "--python", str(fake)]
        command += ["--ways", "one,two", "--json", str(self.json), *more]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        self.rows = [json.loads(line) for line in self.json.read_text(encoding="utf-8").splitlines()]
        return done

    def test_every_cell_is_measured_in_each_round_by_both(self) -> None:
        done = self.run_it("--rounds", "2", "--callers", "1,2", "--texts", "8")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = [(entry["round"], entry["callers"], entry["way"]) for entry in self.rows]
        ways = (THALWEG, "one", "two")
        expected = [(number, callers, way) for number in (0, 1) for callers in (1, 2) for way in ways]
        self.assertEqual(sorted(found), sorted(expected))
        # Who begins takes turns.
        self.assertEqual([entry["way"] for entry in self.rows[::3]], [THALWEG, "one", "one", "two"])
        self.assertIn("| 2 x 8 | 2 | 0.5 (0.5..0.5) one | 0.5 (0.5..0.5) two | 2 (2..2) one |", done.stdout)

    def test_a_side_that_fails_ends_the_run_and_says_why(self) -> None:
        done = self.run_it("--rounds", "2", "--callers", "1", "--texts", "8", FAKE_FAILS="1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("error: no such operator", done.stderr)
        self.assertEqual([entry["way"] for entry in self.rows], [THALWEG])
        self.assertIn("| 1 x 8 | thalweg | 2 | 5 | 100 | 0.5 |", done.stdout)


if __name__ == "__main__":
    unittest.main()
