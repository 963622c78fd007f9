"""A thread that does what it is given, one after the other."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable


class BackgroundWriter:
    """Works in the background; it has a thread for as long as there is work.

    Python waits for that thread before it ends, so that nothing that was handed over is lost. Where
    something fails, what was handed over after it is not done: it may rely on it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], None]] = deque()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self.failure: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is not done yet."""
        return self._thread is not None and self._process == os.getpid()

    def hand_over(self, work: Callable[[], None]) -> None:
        """Have something done after all that was handed over before."""
        if self._process != os.getpid():  # a fork of the process, without the thread
            self.__init__()  # type: ignore[misc]  # as new
        with self._changed:
            if self.failure is not None:
                return
            self._waiting.append(work)
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._work, name="checkpoint writer")
            try:
                self._thread.start()
                return
            except RuntimeError:  # Python is ending, and begins no thread any more
                pass
        self._work()

    def wait(self) -> float:
        """Wait until all is done, or something failed; return how many seconds that took."""
        if not self.is_busy:
            return 0.0
        begin = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None)
        return time.monotonic() - begin

    def take_failure(self) -> BaseException | None:
        """What failed, once."""
        failure, self.failure = self.failure, None
        return failure

    def _work(self) -> None:
        time.sleep(0.002)  # who handed over has to get Python's lock back first, and go on
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    self._changed.notify_all()
                    return
                work = self._waiting.popleft()
            try:
                work()
            except BaseException as error:  # told in the thread that trains
                with self._changed:
                    self.failure = error
                    self._waiting.clear()
            del work  # and the state that it holds
