"""Who is measured: Thalweg by its own command, everybody else by the protocol of README.md. Each call is a process.

A side embeds the texts with known values, and measures cells. What goes wrong is a `ChildFailed`; its word is
the cell's; nothing that a side does ends the run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Union

from common.children import CRASHED, FAILED, HUNG, MISSING, Child, ChildFailed, call
from common.results import Sample
from common.thalweg import Thalweg

WRONG = "wrong values"
# Far below what f16 loses, far above what a wrong model keeps.
SIMILAR = 0.999
# How much longer Thalweg is measured when no request ended; peer.py does the same.
LONGER = (1, 4, 16)


class Cell(NamedTuple):
    """One measurement: so many threads, each with one request of so many texts after the other."""

    threads: int
    batch: int

    def seconds(self, each: float) -> float:
        """How long to measure: large batches are few, and need more time to be counted."""
        return each * (1 + self.batch // 128)

    def __str__(self) -> str:
        return f"{self.threads} threads, batches of {self.batch}"


Outcome = Union[Sample, ChildFailed]


@dataclass
class Common:
    """What all sides are asked for."""

    model: Path
    golden: list[dict[str, Any]]
    words: list[str]
    tokens: int
    device: str
    seconds: float
    limit: float


class Values(NamedTuple):
    """How far embeddings are from the known ones."""

    difference: float
    cosine: float


def compare(found: Any, golden: list[dict[str, Any]]) -> Values:
    """The largest difference and the lowest cosine; `ChildFailed` if they are wrong."""
    differences, cosines = [0.0], [1.0]
    try:
        if [len(row) for row in found] != [len(text["embedding"]) for text in golden]:
            raise ChildFailed(WRONG, f"{len(found)} embeddings for {len(golden)} texts, or of other lengths")
        for row, text in zip(found, golden):
            expected = text["embedding"]
            length = math.hypot(*row) * math.hypot(*expected)
            cosines.append(sum(a * b for a, b in zip(row, expected)) / length if length else 0.0)
            differences.append(max(abs(a - b) for a, b in zip(row, expected)))
    except TypeError as error:
        raise ChildFailed(WRONG, f"no numbers: {error}") from error
    # Each by itself: `min` may pass over a NaN, which is no more than anything.
    wrong = [cosine for cosine in cosines if not cosine >= SIMILAR]
    if wrong:
        raise ChildFailed(WRONG, f"{len(wrong)} of {len(golden)} texts, the first with cosine {wrong[0]:.4f}")
    return Values(max(differences), min(cosines))


@dataclass
class Side:
    """One who is measured, in one data type."""

    who: str
    dtype: str
    common: Common
    # Name, version, device: as the side says it.
    about: dict[str, Any] = field(default_factory=dict)
    # What was found out by the way, for the report.
    notes: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What the tables call it."""
        return f"{self.who} {self.dtype}"

    def check(self) -> Values:
        """Compares values, before anything is measured."""
        raise NotImplementedError

    def choose(self) -> None:
        """Finds out in which way the side is fastest, if it has several."""

    def measure(self, cells: list[Cell]) -> Iterator[tuple[Cell, Outcome]]:
        """Measures; one outcome for each cell, in their order."""
        raise NotImplementedError


@dataclass
class ThalwegSide(Side):
    """The command `thalweg`."""

    program: str = ""
    selector: str = ""

    def _command(self, seconds: int) -> Thalweg:
        return Thalweg(self.program, self.common.model, self.selector, self.dtype, seconds)

    def check(self) -> Values:
        """From eight threads, in batches of four."""
        version = call([self.program, "--version"], self.common.limit)
        self.about = {"name": "Thalweg", "version": version.strip(), "device": self.selector}
        command = [*self._command(1).common("embed"), "--threads", "8", "--batch", "4", "--progress", "never"]
        given = "".join(json.dumps({"text": text["text"]}) + "\n" for text in self.common.golden)
        printed = call([*command, "--format", "jsonl"], self.common.limit, given)
        try:
            found = [json.loads(line)["embedding"] for line in printed.splitlines()]
        except (ValueError, KeyError, TypeError) as error:
            raise ChildFailed(FAILED, f"no embeddings: {error}") from error
        return compare(found, self.common.golden)

    def measure(self, cells: list[Cell]) -> Iterator[tuple[Cell, Outcome]]:
        """A process for each."""
        for cell in cells:
            yield cell, self._measure(cell)

    def _measure(self, cell: Cell) -> Outcome:
        failure = ChildFailed(FAILED, "")
        for longer in LONGER:
            thalweg = self._command(max(1, round(cell.seconds(self.common.seconds) * longer)))
            limit = self.common.limit + 4 * thalweg.seconds
            try:
                document, samples = thalweg.bench(self.common.tokens, cell.batch, [cell.threads], limit)
            except ChildFailed as error:
                failure = error
                if "no request from" not in str(error):
                    break
            except (ValueError, KeyError, TypeError) as error:
                return ChildFailed(FAILED, f"no figures: {error}")
            else:
                self.about["device"] = f"{self.selector} ({document['device']})"
                self.about["commit"] = document["commit"]
                return samples[0]
        return failure


@dataclass
class PeerSide(Side):
    """A command that speaks the protocol."""

    command: list[str] = field(default_factory=list)
    # Whether it has several ways to compute, and a way to try them.
    chooses: bool = False
    state: dict[str, Any] | None = None

    def _request(self, do: str, cells: list[Cell]) -> str:
        common = self.common
        return json.dumps(
            {
                "do": do,
                "model": str(common.model),
                "device": common.device,
                "dtype": self.dtype,
                "tokens": common.tokens,
                "words": common.words,
                "texts": [text["text"] for text in common.golden],
                "cells": [cell._asdict() | {"seconds": cell.seconds(common.seconds)} for cell in cells],
                "limit": common.limit,
                "state": self.state,
            }
        )

    def _answers(self, child: Child, cells: Sequence[Cell] = ()) -> Iterator[dict[str, Any]]:
        """What the peer says, but for its name. `cells` are those that are still to come, as they become fewer."""
        while True:
            # A peer measures again, and longer, when no request ended.
            longest = cells[0].seconds(self.common.seconds) * 2 * sum(LONGER) if cells else 0
            line = child.line(self.common.limit + longest)
            if line is None:
                return
            try:
                document = json.loads(line)
                if not isinstance(document, dict):
                    raise ValueError("not an object")
            except ValueError as error:
                raise ChildFailed(FAILED, f"not an answer: {line[:80]!r}") from error
            if "unavailable" in document:
                raise ChildFailed(MISSING, str(document["unavailable"]))
            if "ready" in document:
                self.about = document["ready"]
            else:
                yield document

    def check(self) -> Values:
        """From one thread; each process that measures does it again, from its own number of threads."""
        found: Values | None = None
        with Child(self.command, self._request("measure", [])) as child:
            for document in self._answers(child):
                found = compare(document.get("embeddings", []), self.common.golden)
        if found is None:
            raise ChildFailed(FAILED, "it embedded nothing")
        return found

    def choose(self) -> None:
        """Keeps the last choice that was answered: the peer answers one after each form that it tries."""
        if not self.chooses:
            return
        tried = ""
        try:
            with Child(self.command, self._request("choose", [])) as child:
                for document in self._answers(child):
                    self.state = document["state"]
                    rates = {key: {form: round(rate) for form, rate in found.items()}
                             for key, found in document["rates"].items()}
                    tried = f"texts/s of its forms {rates}, failed {document['faults']}; taken {self.state}"
        except (ChildFailed, KeyError) as error:
            tried += f"; then {getattr(error, 'word', FAILED)}: {error}"
        self.notes.append(f"{self.label}: {tried}")

    def measure(self, cells: list[Cell]) -> Iterator[tuple[Cell, Outcome]]:
        """One process, and after one that ended before its time another for the cells behind the one that it failed."""
        rest = list(cells)
        while rest:
            begun = False
            try:
                with Child(self.command, self._request("measure", rest)) as child:
                    for document in self._answers(child, rest):
                        if "embeddings" in document:
                            compare(document["embeddings"], self.common.golden)
                            begun = True
                        elif not begun:
                            raise ChildFailed(FAILED, "figures before values")
                        elif rest:
                            outcome = self._outcome(rest[0], document)
                            yield rest.pop(0), outcome
                if rest:
                    raise ChildFailed(FAILED, "it ended without an answer")
            except ChildFailed as error:
                if not rest:
                    self.notes.append(f"{self.label}: {error.word} after its last answer: {error}")
                # What keeps it from beginning, or what is wrong with its values, will be there the next time.
                while rest:
                    yield rest.pop(0), error
                    if begun and error.word in (CRASHED, HUNG, FAILED):
                        break

    def _outcome(self, cell: Cell, document: dict[str, Any]) -> Outcome:
        try:
            if (document["threads"], document["batch"]) != cell:
                raise ChildFailed(FAILED, f"an answer for another cell: {document}")
            if "error" in document:
                return ChildFailed(FAILED, str(document["error"]))
            names = ("texts_per_s", "p50_ms", "p99_ms", "tokenize_ms")
            return Sample(*(float(document[name]) for name in names))
        except (KeyError, TypeError, ValueError) as error:
            raise ChildFailed(FAILED, f"not an answer: {document}") from error
