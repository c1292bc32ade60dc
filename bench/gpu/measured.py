"""The ways that are measured, and the tables made of them. Knows neither PyTorch nor Thalweg."""

from __future__ import annotations

from common.results import Results, Setting, rate_cell, ratio_cell, table

THALWEG = "thalweg"
EAGER, STREAMS, GRAPH_EACH = "eager", "eager, stream each", "graph each"
COMPILED, REDUCED, GRAPH, GRAPH_OF_COMPILED = "compiled", "compiled, reduce-overhead", "graph", "graph of compiled"
THREAD_WAYS = (EAGER, STREAMS, GRAPH_EACH)
BATCH_WAYS = (EAGER, COMPILED, REDUCED, GRAPH, GRAPH_OF_COMPILED)


def thread_table(results: Results, tokens: int, threads: list[int], batches: list[int]) -> list[str]:
    """Single requests from many threads, each ratio beside those to PyTorch's other ways."""
    best_batch = results.best([Setting(way, tokens, batch, 1) for batch in batches for way in BATCH_WAYS])
    graph = Setting(GRAPH, tokens, 1, 1)
    rows = []
    for count in threads:
        ours = Setting(THALWEG, tokens, 1, count)
        ways = [Setting(way, tokens, 1, count) for way in THREAD_WAYS]
        tokenize = results.tokenize_ms(ours)
        rows.append(
            [
                str(count),
                rate_cell(results, ours),
                "-" if tokenize is None else f"{tokenize:.3f}",
                *(rate_cell(results, way) for way in ways),
                ratio_cell(results, ours, results.best(ways[:2])),
                ratio_cell(results, ours, ways[2]),
                ratio_cell(results, ours, graph),
                ratio_cell(results, ours, best_batch),
            ]
        )
    header = ["threads", "Thalweg", "of it tokenize ms", *(f"PyTorch {way}" for way in THREAD_WAYS)]
    header += ["Thalweg / eager threads", "/ graph each", "/ one graph, one thread", "/ best batch"]
    named = f"batches of {best_batch.batch}, {best_batch.way}" if best_batch else "none was measured"
    return [
        f"Single requests of {tokens} tokens from N threads, requests/s. One graph, one thread: "
        f"{rate_cell(results, graph)}. PyTorch's best batch: {named}, "
        f"{rate_cell(results, best_batch) if best_batch else '-'} texts/s.",
        "",
        *table(header, rows),
    ]


def batch_table(results: Results, tokens: int, batches: list[int]) -> list[str]:
    """Batches from one thread."""
    rows = []
    for batch in batches:
        ours = Setting(THALWEG, tokens, batch, 1)
        ways = [Setting(way, tokens, batch, 1) for way in BATCH_WAYS]
        best = results.best(ways)
        cells = [rate_cell(results, setting) for setting in [ours, *ways]]
        rows.append([str(batch), *cells, best.way if best else "-", ratio_cell(results, ours, best)])
    header = ["batch", "Thalweg", *(f"PyTorch {way}" for way in BATCH_WAYS), "PyTorch's best", "Thalweg / best"]
    return [f"Batches of texts of {tokens} tokens from one thread, texts/s.", "", *table(header, rows)]


def report(results: Results) -> str:
    """All tables, with what has to be known to read them."""
    settings = [*results.samples, *results.failures]
    lengths = sorted({setting.tokens for setting in settings})
    threads = sorted({setting.threads for setting in settings})
    batches = sorted({setting.batch for setting in settings})
    rounds = "the interleaved rounds that were complete" if results.complete_rounds else "what the first round got to"
    lines = ["; ".join(f"{name}: {value}" for name, value in results.machine.items()) + ".", ""]
    lines += [
        f"Medians of {rounds} ({results.complete_rounds}), with the lowest and the highest in brackets; ratios are "
        "taken within a round. Thalweg's requests start from text and include tokenisation; PyTorch's start from token "
        "ids on the host. Both end with values on the host.",
    ]
    for tokens in lengths:
        lines += ["", *thread_table(results, tokens, threads, batches), "", *batch_table(results, tokens, batches)]
    if results.notes:
        lines += ["", *(f"- {note}" for note in results.notes)]
    return "\n".join(lines)
