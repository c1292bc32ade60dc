#!/usr/bin/env python3
"""Tests of compare.py with peers that only pretend: python3 -m unittest discover bench/apple. Needs nothing but Python."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

from common.texts import WORDS, Random, Texts
from sides import WRONG, ChildFailed, compare

FAKE = str(HERE / "fake_peer.py")
GOLDEN: list[dict[str, Any]] = [{"text": f"text {number}", "tokens": 4, "embedding": [0.6, 0.8 - 1.6 * number]} for number in range(2)]


class Folder(unittest.TestCase):
    """A model with a vocabulary and nothing else, and texts with known values."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        words = {word: index for index, word in enumerate(WORDS.read_text(encoding="utf-8").split())}
        (self.folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": words}}), encoding="utf-8")
        self.golden = self.folder / "golden.jsonl"
        self.golden.write_text("".join(json.dumps(text) + "\n" for text in GOLDEN), encoding="utf-8")
        self.json = self.folder / "out.json"
        self.environment = {**os.environ, "FAKE_GOLDEN": str(self.golden)}

    def command(self, *more: str) -> list[str]:
        """The command line, with what is the same everywhere."""
        same = ["--model", str(self.folder), "--golden", str(self.golden), "--thalweg", FAKE, "--dtypes", "f32"]
        same += ["--threads", "1,2", "--batches", "1,4,16", "--seconds", "0.1", "--json", str(self.json)]
        return [sys.executable, str(HERE / "compare.py"), *same, *more]

    def run_it(self, *more: str) -> subprocess.CompletedProcess[str]:
        """Runs it to the end."""
        return subprocess.run(self.command(*more), capture_output=True, text=True, env=self.environment, timeout=120)

    def peer(self, kind: str) -> list[str]:
        """The flag for a fake."""
        return ["--peer", f"{kind}={sys.executable} {FAKE} {kind} {self.golden}"]


class Driver(Folder):
    """Whole runs."""

    def rows(self, printed: str) -> dict[str, dict[str, list[str]]]:
        """The cells of both tables, by the first column's name and by its value."""
        tables: dict[str, dict[str, list[str]]] = {}
        name = ""
        for line in printed.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if cells[0] in ("threads", "batch", "who"):
                name = cells[0]
                tables[name] = {"": cells[1:]}
            elif line.startswith("|") and cells[0] != "---":
                tables[name][cells[0]] = cells[1:]
        return tables

    def test_each_peer_gets_its_figure_or_its_word_and_the_others_go_on(self) -> None:
        kinds = ["good", "wrong", "racy", "crash", "hang", "fail", "garbage"]
        flags = [flag for kind in kinds for flag in self.peer(kind)]
        flags += ["--peer", "missing=/nowhere/peer", "--only", ",".join(["thalweg", *kinds, "missing"])]
        begun = time.monotonic()
        done = self.run_it(*flags, "--rounds", "2", "--limit", "5")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertLess(time.monotonic() - begun, 100)
        tables = self.rows(done.stdout)
        labels = ["Thalweg f32", *(f"{kind} f32" for kind in kinds), "missing f32"]
        self.assertEqual(tables["threads"][""], [*labels, "Thalweg / best other"])
        words = ["wrong values", "wrong values", "crashed", "hung", "failed", "failed", "not installed"]
        self.assertEqual(tables["threads"]["2"], ["200 (200..200)", "100 (100..100)", *words, "2 (2..2)"])
        fine = "50.0 (50.0..50.0)"
        first = ["100 (100..100)", fine, "wrong values", fine, fine, fine, fine, fine, "not installed", "2 (2..2)"]
        self.assertEqual(tables["threads"]["1"], first)
        # The cell behind the one that ended the process is measured all the same.
        words = ["crashed", "hung", "failed", "failed", "not installed"]
        self.assertEqual(tables["batch"]["4"][3:9], ["200 (200..200)", *words])
        self.assertEqual(tables["batch"]["16"][1:8], ["800 (800..800)", "wrong values", *["800 (800..800)"] * 5])
        self.assertEqual(tables["who"]["good f32"], ["1", "gpu", "0", "1.0000000"])
        self.assertEqual(tables["who"]["wrong f32"][2], "wrong values")
        self.assertIn("crash f32, 2 threads, batches of 1: crashed: SIGABRT", done.stdout)
        self.assertIn("fail f32, 2 threads, batches of 1: failed: out of memory", done.stdout)

        document: dict[str, Any] = json.loads(self.json.read_text(encoding="utf-8"))
        self.assertEqual(document["complete_rounds"], 2)
        self.assertEqual(document["more"]["about"]["Thalweg f32"]["version"], "thalweg 0.0.0")
        self.assertEqual(document["more"]["about"]["crash f32"]["version"], "1")
        self.assertTrue({"commit", "system", "Python"} <= set(document["machine"]))
        shown = subprocess.run(
            [sys.executable, str(HERE / "compare.py"), "--show", str(self.json)], capture_output=True, text=True, check=True
        )
        self.assertEqual(shown.stdout, done.stdout)

    def test_a_thalweg_that_fails_is_a_failure(self) -> None:
        self.environment["FAKE_THALWEG"] = "fail"
        done = self.run_it("--only", "thalweg,good", *self.peer("good"), "--rounds", "1")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("failed: exit 1: thalweg: cannot open device `metal`", done.stdout)
        self.assertEqual(self.rows(done.stdout)["threads"]["1"], ["failed", "50.0", "-"])

    def test_what_is_not_installed_says_so_for_each_of_the_known(self) -> None:
        done = self.run_it("--rounds", "1", "--python", "/nowhere/python", "--candle", "/nowhere/candle")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.rows(done.stdout)["threads"]["2"], ["200", *["not installed"] * 3, "-"])

    def test_ctrl_c_ends_the_children_and_prints_what_there_is(self) -> None:
        command = self.command("--only", "thalweg,hang", *self.peer("hang"), "--rounds", "1", "--limit", "60")
        driver = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            start_new_session=True,
            # A program that was started in the background, as these tests may have been, is deaf to it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert driver.stderr is not None
        # The last line before the batch that hangs.
        while "hang f32, 1 threads, batches of 1:" not in driver.stderr.readline():
            self.assertIsNone(driver.poll())
        child = self.child_of(driver.pid)
        driver.send_signal(signal.SIGINT)
        printed, _ = driver.communicate(timeout=120)
        self.assertEqual(driver.returncode, 1)
        self.assertIn("stopped by hand", printed)
        self.assertIn("| 1 | 100 | 50.0 |", printed)
        # Of the child's group nobody runs on; who is dead and not yet collected does not count.
        listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True)
        states = [words[1] for words in map(str.split, listed.stdout.splitlines()) if int(words[0]) == child]
        self.assertEqual([state for state in states if not state.startswith("Z")], [])

    def child_of(self, parent: int) -> int:
        """The child that hangs: it has become a shell."""
        for _ in range(100):
            listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
            for line in listed.stdout.splitlines():
                found = re.match(r"\s*(\d+)\s+(\d+)\s+sh -c sleep 600", line)
                if found and int(found[2]) == parent:
                    return int(found[1])
            time.sleep(0.1)
        self.fail("no child")

    def test_wrong_flags_are_wrong_usage(self) -> None:
        for flags in (
            ["--threads", "0"],
            ["--threads", "a"],
            ["--batches", ""],
            ["--rounds", "0"],
            ["--seconds", "nan"],
            ["--tokens", "2"],
            ["--dtypes", "f64"],
            ["--only", "nobody"],
            ["--peer", "nameless"],
            ["--device", "tpu"],
            ["--json", "/nowhere/out.json"],
            ["--model", "/nowhere"],
            ["--unknown"],
        ):
            done = self.run_it(*flags)
            self.assertEqual((done.returncode, done.stdout), (2, ""), flags)
            self.assertIn("compare.py: error:", done.stderr)
        self.assertEqual(self.run_it("--show", "/nowhere/out.json").returncode, 1)

    def test_a_plan_measures_nothing(self) -> None:
        done = self.run_it("--dry-run")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("3 rounds of 4 sides", done.stdout)
        self.assertFalse(self.json.exists())


class Parts(unittest.TestCase):
    """What can be seen without a run."""

    def test_values_that_are_wrong_in_any_way_are_refused(self) -> None:
        right = [list(text["embedding"]) for text in GOLDEN]
        self.assertEqual(compare(right, GOLDEN).difference, 0.0)
        nan = float("nan")
        for found in ([], right[:1], [[0.6], [0.6]], [right[1], right[0]], [right[0], [nan, nan]], [[nan, 0.8], right[1]],
                      [right[0], [0.0, 0.0]], [right[0], ["a", "b"]], None):
            with self.assertRaises(ChildFailed) as raised:
                compare(found, GOLDEN)
            self.assertEqual(raised.exception.word, WRONG)

    def test_texts_are_those_of_the_command(self) -> None:
        # The numbers that crates/cli/src/bench/texts.rs compares its own with.
        random = Random(1_234_567)
        first = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        self.assertEqual([random.next() for _ in range(3)], first)
        texts = Texts(["river", "delta"], 24)
        requests = texts.requests(2, 1, 3, 4)
        self.assertEqual([len(batch) for batch in requests], [3] * 4)
        self.assertTrue(all(len(text.split(" ")) == 22 for batch in requests for text in batch))
        self.assertEqual(requests, texts.requests(2, 1, 3, 4))
        self.assertNotEqual(requests, texts.requests(2, 0, 3, 4))


if __name__ == "__main__":
    unittest.main()
