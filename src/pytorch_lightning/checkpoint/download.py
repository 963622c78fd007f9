"""Files from the web by the standard library, up to a limit of size and of patience."""

import contextlib
import http.client
import queue
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from pytorch_lightning.utilities.exceptions import CheckpointError

URL_SIZE_LIMIT = 64 << 30
_SILENCE = 30.0  # seconds without a byte
_PATIENCE = 60.0  # seconds before the speed counts
_SLOWEST = 10_000  # bytes per second
_CHUNK = 1 << 20


@contextlib.contextmanager
def downloaded(url: str) -> Iterator[BinaryIO]:
    """The content of an http(s) URL as an open file that has no name.

    Raises:
        CheckpointError: It cannot be had, is too large, or comes too slowly.
    """
    with tempfile.TemporaryFile() as file:
        try:
            with _answer(url) as response:
                _copy_limited(response, file, url)
        # what is no URL is a ValueError, what is no answer an HTTPException
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise CheckpointError(f"{url!r} could not be fetched: {error}") from error
        file.seek(0)
        yield cast(BinaryIO, file)


def _answer(url: str) -> Any:
    """The answer of a server, head and all, within the time for it; a stuck thread is left."""
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()
    is_late = threading.Event()

    def ask() -> None:
        try:
            response = _opener().open(url, timeout=_SILENCE)
        except BaseException as error:
            found.put(error)
            return
        found.put(response)
        if is_late.is_set():
            response.close()

    threading.Thread(target=ask, daemon=True, name="pl-download").start()
    try:
        answer = found.get(timeout=_PATIENCE)
    except queue.Empty:
        is_late.set()
        raise TimeoutError(f"no answer within {_PATIENCE:.0f} s") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server to other servers, and nowhere else."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        scheme = urlsplit(newurl).scheme
        if scheme != "https" and (scheme != "http" or req.type == "https"):
            raise urllib.error.URLError(f"it leads to {newurl!r:.200}, which is not safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """What speaks http and https, and cannot be led to local files or other protocols."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler, urllib.request.UnknownHandler, urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler, urllib.request.HTTPDefaultErrorHandler, _Redirects,
        urllib.request.HTTPErrorProcessor,
    ):  # fmt: skip
        opener.add_handler(handler())
    return opener


def _copy_limited(response: Any, file: Any, url: str) -> None:
    announced = response.headers.get("Content-Length")
    expected = int(announced) if announced is not None and announced.isdigit() else None
    if expected is not None and expected > URL_SIZE_LIMIT:
        raise _too_large(url)
    got, start = 0, time.monotonic()
    while chunk := response.read1(_CHUNK):
        got += len(chunk)
        if got > URL_SIZE_LIMIT:
            raise _too_large(url)
        seconds = time.monotonic() - start
        if seconds > _PATIENCE and got < _SLOWEST * seconds:
            raise CheckpointError(
                f"{url!r} comes too slowly: {got} bytes in {seconds:.0f} s. Fetch it yourself, "
                "and pass the path of the file."
            )
        file.write(chunk)
    if expected is not None and got < expected:
        raise CheckpointError(f"{url!r} ended early: {got} of {expected} bytes.")


def _too_large(url: str) -> CheckpointError:
    return CheckpointError(
        f"{url!r} is larger than {URL_SIZE_LIMIT} bytes. Fetch it yourself, and pass the path of "
        "the file."
    )
