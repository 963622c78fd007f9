"""A function in a forked process, and how that ended."""

import os
import signal
import sys
import tempfile
import time
import traceback
import warnings


def forked(function, *args, limit=60):
    """The exit code that a program with this function would have, and what it printed."""
    with tempfile.TemporaryFile("w+") as output:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _work(function, args, output)
        end = time.monotonic() + limit
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise AssertionError(f"a process did not end within {limit} s")
            time.sleep(0.01)
        output.seek(0)
        return os.waitstatus_to_exitcode(ended[1]), output.read()


def _work(function, args, output):
    code = 1
    try:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        sys.stdout = os.fdopen(os.dup(1), "w", buffering=1)  # and not pytest's
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        function(*args)
        code = 0
    except SystemExit as ended:
        code = ended.code
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
