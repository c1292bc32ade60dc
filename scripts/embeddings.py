#!/usr/bin/env python3
"""What the demo does with embeddings, on the standard library alone.

  embeddings.py compare REFERENCE RESULTS TOLERANCE   every value within the tolerance, token counts equal, or exit 1
  embeddings.py pairs TEXTS RESULTS COUNT             the most similar pairs of different texts, by cosine

REFERENCE and RESULTS are JSON lines with "tokens" and "embedding", in the same order; TEXTS has one text a line.
"""

import json
import math
import sys


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def compare(reference_path, results_path, tolerance):
    reference, results = read(reference_path), read(results_path)
    if len(reference) != len(results):
        sys.exit(f"{results_path}: {len(results)} results for {len(reference)} texts")
    worst = 0.0
    for index, (expected, found) in enumerate(zip(reference, results)):
        if found["index"] != index:
            sys.exit(f"{results_path}: line {index + 1} has index {found['index']}, expected {index}")
        if found["tokens"] != expected["tokens"]:
            sys.exit(f"text {index}: {found['tokens']} tokens, expected {expected['tokens']}")
        if len(found["embedding"]) != len(expected["embedding"]):
            sys.exit(f"text {index}: {len(found['embedding'])} values, expected {len(expected['embedding'])}")
        difference = max(abs(a - b) for a, b in zip(found["embedding"], expected["embedding"]))
        # Written so that NaN fails.
        if not difference <= tolerance:
            sys.exit(f"text {index}: largest difference {difference:.3g}, allowed {tolerance:g}")
        worst = max(worst, difference)
    print(f"{len(results)} texts: token counts equal, largest difference {worst:.2g} (allowed {tolerance:g})")


def pairs(texts_path, results_path, count):
    with open(texts_path, encoding="utf-8") as lines:
        texts = [line.rstrip("\r\n") for line in lines]
    vectors = [result["embedding"] for result in read(results_path)]
    if len(texts) != len(vectors):
        sys.exit(f"{results_path}: {len(vectors)} results for {len(texts)} texts")
    lengths = [math.sqrt(sum(value * value for value in vector)) for vector in vectors]
    found = []
    for first in range(len(texts)):
        for second in range(first + 1, len(texts)):
            if texts[first] == texts[second]:
                continue
            product = sum(a * b for a, b in zip(vectors[first], vectors[second]))
            found.append((product / (lengths[first] * lengths[second]), first, second))
    for cosine, first, second in sorted(found, reverse=True)[:count]:
        print(f"{cosine:.3f}  {texts[first]}")
        print(f"       {texts[second]}")


def main(arguments):
    if len(arguments) == 4 and arguments[0] == "compare":
        compare(arguments[1], arguments[2], float(arguments[3]))
    elif len(arguments) == 4 and arguments[0] == "pairs":
        pairs(arguments[1], arguments[2], int(arguments[3]))
    else:
        print(__doc__, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
