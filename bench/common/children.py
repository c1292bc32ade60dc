"""Child processes: each in a group of its own, with a limit on its silence, and a word for how it ended."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from types import TracebackType
from typing import IO

CRASHED, HUNG, FAILED, MISSING = "crashed", "hung", "failed", "not installed"
# What a shell makes of a signal: 128 and its number.
SHELL_SIGNALS = range(129, 160)
NOT_FOUND = 127


class ChildFailed(RuntimeError):
    """A command that did not do what it was asked for: one word for a table's cell, and its last words."""

    def __init__(self, word: str, why: str) -> None:
        super().__init__(why)
        self.word = word


class Child:
    """A command that runs, to be used in a `with`: whatever happens, it and what it started are gone afterwards.

    It reads `text` as its standard input. Its standard output is read line by line, its standard error kept.
    """

    def __init__(self, command: list[str], text: str = "") -> None:
        # Files, not pipes: a child that reads or writes nothing must hold nobody up.
        self.errors: IO[bytes] = tempfile.TemporaryFile()
        with tempfile.TemporaryFile() as given:
            given.write(text.encode())
            given.seek(0)
            try:
                self.process = subprocess.Popen(
                    command, stdin=given, stdout=subprocess.PIPE, stderr=self.errors, start_new_session=True
                )
            except OSError as error:
                self.errors.close()
                raise ChildFailed(MISSING, f"{command[0]}: {error.strerror}") from error
        self.found: queue.Queue[bytes | None] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.found.put(line)
        self.found.put(None)

    def line(self, limit: float) -> str | None:
        """Its next line, within `limit` seconds; at the end nothing, or `ChildFailed` unless it ended well."""
        try:
            line = self.found.get(timeout=limit)
        except queue.Empty:
            raise ChildFailed(HUNG, f"nothing came for {limit:.0f} s") from None
        if line is not None:
            return line.decode(errors="replace").rstrip("\n")
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise ChildFailed(HUNG, f"no end within {limit:.0f} s") from None
        if code != 0:
            raise self._failure(code)
        return None

    def _failure(self, code: int) -> ChildFailed:
        number = -code if code < 0 else code - 128 if code in SHELL_SIGNALS else 0
        if number:
            try:
                name = signal.Signals(number).name
            except ValueError:
                name = f"signal {number}"
            return ChildFailed(CRASHED, f"{name}: {self.last_words()}")
        return ChildFailed(MISSING if code == NOT_FOUND else FAILED, f"exit {code}: {self.last_words()}")

    def last_words(self) -> str:
        """The line of its standard error that says what is wrong, or the last."""
        self.errors.seek(0)
        words = [line.strip() for line in self.errors.read().decode(errors="replace").splitlines() if line.strip()]
        faults = [line for line in words if "error" in line.lower() or "assertion" in line.lower()]
        return (faults or words or ["no message"])[-1]

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self.process.kill()
            self.process.wait()
        # A process of its group that still holds the other end would keep the reader, which is a daemon.
        self.reader.join(1)
        self.errors.close()


def call(command: list[str], limit: float, text: str = "") -> str:
    """Runs a command within `limit` seconds and returns what it printed."""
    end = time.monotonic() + limit
    printed: list[str] = []
    with Child(command, text) as child:
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise ChildFailed(HUNG, f"no end after {limit:.0f} s")
            line = child.line(left)
            if line is None:
                return "\n".join(printed)
            printed.append(line)
