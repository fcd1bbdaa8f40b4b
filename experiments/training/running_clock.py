"""A clock that stands still while the process is stopped: by Ctrl-Z, by ``kill -STOP`` or by a scheduler that suspends jobs."""

import os
import select
import signal
import threading
import time

SECONDS_BETWEEN_BEATS = 1.0


class RunningClock:
    """Seconds of this process without those in which it was stopped, exact to about a second for each stop.

    No process is told that it will be stopped, only that it goes on. So a thread notes the time each second, and what lies
    between its last note and SIGCONT was a stop. Made by the main thread, the only one that may set handlers of signals.
    """

    def __init__(self) -> None:
        self._stopped = 0.0
        self._continued, written_by_handler = os.pipe()
        os.set_blocking(written_by_handler, False)
        # The handler in C writes each signal's number at once; one in Python would wait for the main thread's computation.
        signal.set_wakeup_fd(written_by_handler, warn_on_full_buffer=False)
        signal.signal(signal.SIGCONT, lambda _number, _frame: None)
        threading.Thread(target=self._watch, daemon=True).start()

    def now(self) -> float:
        """Seconds from an arbitrary beginning."""
        return time.monotonic() - self._stopped

    def _watch(self) -> None:
        last, gap = time.monotonic(), 0.0
        while True:
            is_signal = select.select([self._continued], [], [], SECONDS_BETWEEN_BEATS)[0]
            now = time.monotonic()
            if not is_signal:
                last, gap = now, now - last
            elif signal.SIGCONT in os.read(self._continued, select.PIPE_BUF):
                # This thread may have woken before the handler wrote: then the stop lies before its last note.
                self._stopped += max(0.0, max(gap, now - last) - SECONDS_BETWEEN_BEATS)
                last, gap = now, 0.0
