"""Where the processes of a run find each other: one store, whose port is open before it is told."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from pytorch_lightning.distributed.children import PARENT
from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.utilities.environ import read_int, read_text

_LOOPBACK = "127.0.0.1"
_PATIENCE = timedelta(minutes=5)
_served: dict[str, Any] = {}


def open_port(address: str, port: int) -> socket.socket:
    """Listen at an address of this machine, so that nobody else takes the port meanwhile.

    Args:
        port: 0 takes any that is free.
    """
    local = address == _LOOPBACK
    family = socket.AF_INET if local or not socket.has_dualstack_ipv6() else socket.AF_INET6
    place = (_LOOPBACK if local else "", port)
    try:
        return socket.create_server(
            place, family=family, backlog=2048, dualstack_ipv6=family is socket.AF_INET6
        )
    except OSError as error:
        raise RuntimeError(
            f"`MASTER_PORT={port}`: this machine does not give the port ({error.strerror}). Set "
            "MASTER_PORT to one that is free, the same for all processes."
        ) from None


def serve(listener: socket.socket, address: str) -> Any:
    """Answer at an open port; `connect` in this process knows of it from now on."""
    port = listener.getsockname()[1]
    store = dist.TCPStore(  # type: ignore[attr-defined]  # it is public all the same
        address,
        port,
        is_master=True,
        timeout=_PATIENCE,
        wait_for_workers=False,
        master_listen_fd=listener.detach(),
    )
    _served.update(pid=os.getpid(), address=address, port=port, store=store)
    return store


def stop_serving() -> None:
    """Answer no more, once everybody who asked has ended."""
    if served() is not None:
        _served.clear()


def served() -> tuple[str, int] | None:
    """Where this process itself answers."""
    if _served.get("pid") != os.getpid():
        return None
    return _served["address"], _served["port"]


def served_store() -> Any | None:
    """The store that this process keeps for all, if it does."""
    return None if served() is None else _served["store"]


def meeting_place(environment: ClusterEnvironment) -> tuple[str, int]:
    """Where all processes of a run meet; opened here where this one has to."""
    here = served()
    if here is not None:
        return here
    address, port = environment.main_address, environment.main_port
    if read_int(PARENT) is not None:  # an environment may have chosen a port before it was asked
        address = read_text("MASTER_ADDR") or address
        port = read_int("MASTER_PORT") or port
    elsewhere = read_text("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if environment.global_rank() == 0 and not elsewhere:
        serve(open_port(address, port), address)
    return address, port


def connect(address: str, port: int, timeout: timedelta = _PATIENCE) -> Any:
    """A connection of its own to a store that answers."""
    return dist.TCPStore(  # type: ignore[attr-defined]  # likewise
        address, port, is_master=False, timeout=timeout, wait_for_workers=False
    )


def await_answer(address: str, port: int, end: float, tell: Callable[[str], None]) -> socket.socket:
    """Knock until somebody opens; the open line says later when the other side is gone.

    Args:
        tell: Hears what is missing, about once a second; may raise.
    """
    while True:
        try:
            line = socket.create_connection((address, port), timeout=5)
            line.setblocking(False)
            return line
        except OSError as error:
            tell(f"no answer from rank 0 at {address}:{port} ({error.strerror or error})")
        if time.monotonic() > end:
            raise TimeoutError(
                f"Nobody answers at {address}:{port} (MASTER_ADDR and MASTER_PORT). Rank 0 did not "
                "start, or a firewall is between."
            )
        time.sleep(0.2)


def is_cut(line: socket.socket) -> bool:
    """Whether the other side of a connection is gone."""
    try:
        return line.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
