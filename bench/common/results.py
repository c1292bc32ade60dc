"""What was measured: samples, failures, and the cells of a table. Knows nobody who was measured."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


class Setting(NamedTuple):
    """One cell: who, or in which way, does what from how many threads."""

    way: str
    tokens: int
    batch: int
    threads: int


@dataclass
class Sample:
    """One measurement of one setting. Times in milliseconds, of one request; `tokenize_ms` is part of it: tokenisation."""

    texts_per_s: float
    p50_ms: float
    p99_ms: float
    tokenize_ms: float | None = None


@dataclass
class Results:
    """Everything that a run found out."""

    machine: dict[str, str] = field(default_factory=dict)
    samples: dict[Setting, dict[int, Sample]] = field(default_factory=dict)
    failures: dict[Setting, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    complete_rounds: int = 0
    # What only one of the comparisons has, by name.
    more: dict[str, Any] = field(default_factory=dict)

    def add(self, setting: Setting, round_number: int, sample: Sample) -> None:
        """Keeps a sample; rounds count from 0."""
        self.samples.setdefault(setting, {})[round_number] = sample

    def rates(self, setting: Setting) -> dict[int, float]:
        """Texts a second by round: of complete rounds, or of the one that was begun if none is complete."""
        rounds = self.samples.get(setting, {})
        counted = max(self.complete_rounds, 1)
        return {number: sample.texts_per_s for number, sample in rounds.items() if number < counted}

    def tokenize_ms(self, setting: Setting) -> float | None:
        """The median time for tokenisation in a request."""
        samples = self.samples.get(setting, {}).values()
        times = [sample.tokenize_ms for sample in samples if sample.tokenize_ms is not None]
        return statistics.median(times) if times else None

    def best(self, settings: list[Setting]) -> Setting | None:
        """The setting with the highest median, or None if none was measured."""
        measured = [setting for setting in settings if self.rates(setting)]
        return max(measured, key=lambda setting: statistics.median(self.rates(setting).values()), default=None)

    def write(self, path: Path) -> None:
        """All raw numbers, as JSON."""
        document = {
            "machine": self.machine,
            "complete_rounds": self.complete_rounds,
            "notes": self.notes,
            "failures": [setting._asdict() | {"reason": reason} for setting, reason in self.failures.items()],
            "samples": [
                setting._asdict() | {"round": number} | asdict(sample)
                for setting, rounds in self.samples.items()
                for number, sample in rounds.items()
            ],
        }
        if self.more:
            document["more"] = self.more
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Results:
        """What `write` wrote."""
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))

        def setting(entry: dict[str, Any]) -> Setting:
            return Setting(*(entry.pop(name) for name in Setting._fields))

        found = cls(document["machine"], notes=document["notes"], complete_rounds=document["complete_rounds"])
        found.more = document.get("more", {})
        for entry in document["failures"]:
            found.failures[setting(entry)] = entry["reason"]
        for entry in document["samples"]:
            found.add(setting(entry), entry.pop("round"), Sample(**entry))
        return found


def reason(error: BaseException) -> str:
    """A failure as one short line for a table's cell."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"failed: {type(error).__name__}: {lines[0] if lines else ''}"
    return text if len(text) <= 120 else text[:117] + "..."


def spread(values: list[float], form: Callable[[float], str]) -> str:
    """The median, and beside it the lowest and the highest."""
    if len(values) == 1:
        return form(values[0])
    return f"{form(statistics.median(values))} ({form(min(values))}..{form(max(values))})"


def rate_cell(results: Results, setting: Setting) -> str:
    """Texts a second, or why there are none."""
    rates = list(results.rates(setting).values())
    if rates:
        return spread(rates, lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.1f}")
    return results.failures.get(setting, "not measured")


def ratio_cell(results: Results, setting: Setting, other: Setting | None) -> str:
    """How many times as fast as the other, round by round."""
    ours, theirs = results.rates(setting), results.rates(other) if other else {}
    ratios = [ours[number] / theirs[number] for number in ours if number in theirs]
    return spread(ratios, lambda value: f"{value:.3g}") if ratios else "-"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Markdown. Reasons of failures may hold what a table cannot."""
    plain = [[cell.replace("|", "/").replace("\n", " ") for cell in row] for row in rows]
    lines = [header, ["---"] * len(header), *plain]
    return ["| " + " | ".join(line) + " |" for line in lines]
