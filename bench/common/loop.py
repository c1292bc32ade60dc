"""A closed loop: threads that each make one request, wait for its values, make the next. And a limit on a call's time."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

Request = Callable[[], None]


class TimeLimitExceeded(BaseException):
    """A preparation took too long. Not an `Exception`, so that no library takes it for a failure of its own."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises `TimeLimitExceeded` in the main thread when the time is up."""

    def expired(_signal: int, _frame: FrameType | None) -> None:
        raise TimeLimitExceeded(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class ClosedLoop:
    """Threads that each make one request after the other; one that ends inside the measured time counts."""

    def __init__(self, threads: int, seconds: float, warm_up: float) -> None:
        self.threads, self.seconds, self.warm_up = threads, seconds, warm_up
        self.open = self.close = 0.0
        self.gate = threading.Barrier(threads, action=self._start, timeout=60)
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.latencies: list[list[float]] = []

    def _start(self) -> None:
        self.open = time.perf_counter() + self.warm_up
        self.close = self.open + self.seconds

    def run(self, session: Callable[[int], AbstractContextManager[Request]]) -> list[float]:
        """Runs to the end and returns all times in seconds. One thread is this one: compiled code may insist on it."""
        if self.threads == 1:
            self._loop(session, 0)
        else:
            workers = [
                threading.Thread(target=self._guarded, args=(session, number), daemon=True)
                for number in range(self.threads)
            ]
            try:
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
            finally:
                # After Ctrl-C the threads still run, or wait for each other.
                self.stop.set()
                self.gate.abort()
        if self.errors:
            raise self.errors[0]
        return [latency for latencies in self.latencies for latency in latencies]

    def _guarded(self, session: Callable[[int], AbstractContextManager[Request]], number: int) -> None:
        try:
            self._loop(session, number)
        except threading.BrokenBarrierError:
            pass  # Another thread failed before the start, and says why.
        except BaseException as error:  # Raised again where the threads are joined.
            self.errors.append(error)
            self.stop.set()
            self.gate.abort()

    def _loop(self, session: Callable[[int], AbstractContextManager[Request]], number: int) -> None:
        latencies: list[float] = []
        self.latencies.append(latencies)
        with session(number) as request:
            request()
            self.gate.wait()
            begun = time.perf_counter()
            while begun < self.close and not self.stop.is_set():
                request()
                ended = time.perf_counter()
                if self.open < ended <= self.close:
                    latencies.append(ended - begun)
                begun = ended
