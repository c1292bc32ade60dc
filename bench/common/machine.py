"""What figures depend on: the machine, as its own commands describe it."""

from __future__ import annotations

import json
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


def apple() -> dict[str, str]:
    """A Mac: its model, chip, memory and system. Not its name, which is its owner's affair. Empty elsewhere."""
    if platform.system() != "Darwin":
        return {}
    asks = {
        "model": ["sysctl", "-n", "hw.model"],
        "chip": ["sysctl", "-n", "machdep.cpu.brand_string"],
        "fast cores": ["sysctl", "-n", "hw.perflevel0.physicalcpu"],
        "other cores": ["sysctl", "-n", "hw.perflevel1.physicalcpu"],
        "memory bytes": ["sysctl", "-n", "hw.memsize"],
        "macOS": ["sw_vers", "-productVersion"],
        "build": ["sw_vers", "-buildVersion"],
    }
    found = {name: asked(command) or "unknown" for name, command in asks.items()}
    found["GPU cores"] = gpu_cores()
    return found


def gpu_cores() -> str:
    """How many cores the GPU of a Mac has."""
    try:
        done = subprocess.run(
            ["system_profiler", "-json", "SPDisplaysDataType"], capture_output=True, text=True, timeout=60, check=True
        )
        displays = json.loads(done.stdout)["SPDisplaysDataType"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return "unknown"
    return next((entry["sppci_cores"] for entry in displays if "sppci_cores" in entry), "unknown")


def power() -> str:
    """Where a Mac's power comes from, and whether heat has slowed it down; empty elsewhere."""
    if platform.system() != "Darwin":
        return ""
    words = []
    for command in (["pmset", "-g", "batt"], ["pmset", "-g", "therm"]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        # The battery's own line has a serial number.
        words += lines[:1] if "batt" in command else lines
    return "; ".join(words)
