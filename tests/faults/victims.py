"""Processes that are killed: forked from one that has everything imported, in milliseconds each."""

import contextlib
import faulthandler
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from tests.distributed.ranks import _START

TEMPORARY = (".saving-", ".replaced-", ".tmp", ".part", ".link")


def temporary_files(home):
    """What is below a folder that no name was meant for."""
    names = [name for _, folders, files in os.walk(home) for name in (*folders, *files)]
    return [name for name in names if name.startswith(TEMPORARY) or name.endswith(TEMPORARY)]


class Victim:
    """A process that runs a function, and the lines that it tells.

    Args:
        limit: Seconds after which it ends by itself, with the stacks of its threads.
    """

    def __init__(self, breeder, function, args, folder, limit=60.0):
        self.lines = []
        self.joined = False
        self.output = Path(folder) / f"output-{time.monotonic_ns()}.txt"
        fifo = f"{self.output}.fifo"
        os.mkfifo(fifo)
        self._pipe = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self._rest = b""
        breeder.send((function, args, fifo, str(self.output), limit))
        self.pid = breeder.recv()
        self._end = time.monotonic() + limit + 5

    def wait_for(self, beginning, seconds=None):
        """Read until a line that begins so; False where the time or the process ended before."""
        end = self._end if seconds is None else time.monotonic() + seconds
        seen = len(self.lines)
        while True:
            for line in self.lines[seen:]:
                if line.startswith(beginning):
                    return True
            seen = len(self.lines)
            if not self.read(end - time.monotonic()):
                return False

    def read(self, seconds):
        """Read what there is, waiting for it at most so long; False if nothing came."""
        ready, _, _ = select.select([self._pipe], [], [], max(0.0, min(seconds, 0.5)))
        data = os.read(self._pipe, 1 << 16) if ready else b""
        if data:
            *whole, self._rest = (self._rest + data).split(b"\n")
            self.lines += [line.decode() for line in whole]
            return True
        if ready:
            time.sleep(0.001)  # the pipe has no writer: not yet, or not any more
        return seconds > 0 and self.is_alive()

    def kill(self, number=signal.SIGKILL):
        """End it, and read the last that it told."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        self.join()

    def join(self):
        """Wait for its end."""
        while self.is_alive():
            assert time.monotonic() < self._end, f"does not end\n{self.said()}"
            self.read(0.002)
        while self.read(0):
            pass
        self.joined = True
        os.close(self._pipe)

    def is_alive(self):
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def said(self):
        return self.output.read_text() if self.output.exists() else ""


class Breeder:
    """The process from which victims are forked.

    Args:
        warm_up: A function, with arguments, that is run there once.
    """

    def __init__(self, warm_up, *args):
        self._ours, theirs = multiprocessing.Pipe()
        self._process = _START.Process(target=_breed, args=(theirs, warm_up, args), daemon=False)
        self._process.start()
        theirs.close()
        assert self._ours.poll(60), "was not ready in time"
        said = self._ours.recv()
        assert said == "ready", said

    def victim(self, function, *args, folder, limit=60.0):
        return Victim(self._ours, function, args, folder, limit)

    def end(self):
        self._process.kill()
        self._process.join()
        self._ours.close()


def _breed(pipe, warm_up, args):
    import torch

    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as it lives
    try:
        warm_up(*args)
        assert threading.active_count() == 1, threading.enumerate()
    except BaseException:
        pipe.send(traceback.format_exc())
        raise
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    pipe.send("ready")
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            pipe.close()
            _live(*task)
        pipe.send(pid)


def _live(function, args, fifo, output, limit):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    file = open(output, "w", buffering=1)  # noqa: SIM115 - as long as it lives
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = file
    faulthandler.dump_traceback_later(limit, exit=True, file=file)
    try:
        function(*args, pipe=os.open(fifo, os.O_WRONLY))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
