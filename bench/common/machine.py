"""What figures depend on: the machine, as its own commands describe it."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def asked(command: list[str]) -> str:
    """The first line of a command's answer, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().partition("\n")[0]


def processor() -> str:
    """The processor's name and how many of its threads this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{count} of {name}"


def commit_of(folder: Path) -> str:
    """What the sources in a folder are, as git calls it."""
    return asked(["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]) or "unknown"
