"""The tables of a comparison on an Apple GPU."""

from __future__ import annotations

import statistics
from typing import Any

from common.results import Results, Setting, rate_cell, ratio_cell, table

THALWEG = "Thalweg"


def cell(results: Results, setting: Setting) -> str:
    """A figure, or the word that stands instead of it: what failed once is not measured."""
    return results.failures.get(setting) or rate_cell(results, setting)


def best(results: Results, settings: list[Setting]) -> Setting | None:
    """The fastest of those that never failed."""
    return results.best([setting for setting in settings if setting not in results.failures])


def rows(results: Results, keys: list[tuple[int, int]], names: list[str]) -> list[list[str]]:
    """A row for each (threads, batch): all figures, and Thalweg's best beside the best of the others."""
    labels, tokens = results.more["labels"], results.more["tokens"]
    made = []
    for key, name in zip(keys, names):
        settings = [Setting(label, tokens, key[1], key[0]) for label in labels]
        ours = best(results, [setting for setting in settings if setting.way.startswith(THALWEG)])
        theirs = best(results, [setting for setting in settings if not setting.way.startswith(THALWEG)])
        ratio = ratio_cell(results, ours, theirs) if ours and theirs else "-"
        made.append([name, *(cell(results, setting) for setting in settings), ratio])
    return made


def values_table(results: Results) -> list[str]:
    """Who was compared, and how far their values are from the known ones."""
    made = []
    for label in results.more["labels"]:
        about: dict[str, Any] = results.more["about"].get(label, {})
        found: dict[str, Any] = results.more["values"].get(label, {})
        difference = f"{found['difference']:.2g}" if "difference" in found else found.get("word", "not compared")
        cosine = f"{found['cosine']:.7f}" if "cosine" in found else "-"
        made.append([label, str(about.get("version", "-")), str(about.get("device", "-")), difference, cosine])
    return table(["who", "version", "device", "largest difference", "lowest cosine"], made)


def best_batches(results: Results) -> list[str]:
    """What each reaches when somebody has collected the requests."""
    found = []
    for label in results.more["labels"]:
        settings = [Setting(label, results.more["tokens"], batch, 1) for batch in results.more["batches"]]
        one = best(results, settings)
        if one:
            found.append(f"{label} {rate_cell(results, one)} (batches of {one.batch})")
    return found


def drift(results: Results) -> str | None:
    """How the last round was beside the first: a machine that gets hot gets slower."""
    last = results.complete_rounds - 1
    found = [results.rates(setting) for setting in results.samples]
    ratios = [rates[last] / rates[0] for rates in found if last > 0 and rates.get(0) and last in rates]
    if not ratios:
        return None
    return f"the last round beside the first, median of all cells: {statistics.median(ratios):.3f} of its texts/s"


def report(results: Results) -> str:
    """All tables, with what has to be known to read them."""
    more = results.more
    header = [*more["labels"], f"{THALWEG} / best other"]
    lines = ["; ".join(f"{name}: {value}" for name, value in results.machine.items()) + ".", ""]
    lines += [f"Values of {more['golden']} texts beside the reference embeddings.", "", *values_table(results), ""]
    lines += [
        f"Texts/s, medians of {results.complete_rounds} complete rounds, with the lowest and the highest in brackets; "
        f"ratios are taken within a round. Texts of {more['tokens']} tokens; a request starts from text and ends with "
        "values on the host. A word instead of a figure is explained below the tables.",
        "",
        "Single texts from N threads. Best from one thread: " + ("; ".join(best_batches(results)) or "nothing") + ".",
        "",
    ]
    threads, batches = more["threads"], more["batches"]
    lines += table(["threads", *header], rows(results, [(count, 1) for count in threads], [str(n) for n in threads]))
    lines += ["", "Batches from one thread.", ""]
    lines += table(["batch", *header], rows(results, [(1, size) for size in batches], [str(n) for n in batches]))
    notes = [note for note in (*results.notes, drift(results)) if note]
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines)
