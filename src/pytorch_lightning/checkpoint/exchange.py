"""Two names change places in one step, where the system can do that."""

import ctypes
import errno
import os
import sys
from typing import Any

_HERE = -100  # AT_FDCWD of Linux
_SWAP = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


def exchange(first: str, second: str) -> bool:
    """Let two things that exist change places; False where this system or this disk cannot.

    Raises:
        OSError: It can, and did not.
    """
    swap = _call_of_the_system()
    if swap is None:
        return False
    if swap(os.fsencode(first), os.fsencode(second)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:  # network file systems, mostly
        return False
    raise OSError(number, os.strerror(number), first, None, second)


def _call_of_the_system() -> Any:
    if os.name != "posix":
        return None
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            call = library.renamex_np
            return lambda first, second: call(first, second, _SWAP)
        rename = library.renameat2
    except (AttributeError, OSError):  # an old C library
        return None
    return lambda first, second: rename(_HERE, first, _HERE, second, _SWAP)
