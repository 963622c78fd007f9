"""One copy of a state in memory that is kept, so that training can go on while it is written."""

from __future__ import annotations

import copy
import mmap
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_ALIGNED = 512
_UNCHANGING = frozenset(
    (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
)
_Fill = Callable[[torch.UntypedStorage], object]
_Place = tuple[torch.Size, tuple[int, ...], int]


class Staging:
    """Memory into which states are copied, one at a time.

    It grows to the size of the largest state and stays: touching new memory takes ten times as long
    as copying into memory that is there.
    """

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._slab = _no_storage()
        self._copied: list[Any] = []
        self._release: Callable[[], Any] = _nothing
        self.num_bytes = 0

    def copy(self, state: Any) -> Any:
        """Copy a state, into the memory that held the one before."""
        return self.copy_with_parts(state, ())[0]

    def copy_with_parts(self, state: Any, parts: Sequence[Tensor]) -> tuple[Any, list[Tensor]]:
        """Copy a state, and tensors each by itself, into the memory that held the one before.

        What shares memory in the state shares it in the copy, as in a file. Tensors of a GPU are on
        their way when this returns, in the order of its stream; `await_copies` waits for them.
        """
        copier = _Copier()
        copies: list[Tensor] = []
        with torch.no_grad():
            copied = copier(state)
            jobs = [(_bytes_of(storage), fills) for storage, fills in copier.storages.values()]
            for part in parts:
                whole, empty = part.detach().contiguous(), torch.empty(0, dtype=part.dtype)
                fill = _set(empty, whole.shape, whole.stride(), 0)
                jobs.append((whole.reshape(-1).view(torch.uint8), [fill]))
                copies.append(empty)
            self._fill(jobs)
        return copied, copies

    def await_copies(self) -> None:
        """Wait for the copies from GPUs."""
        for event in self._copied:
            event.synchronize()
        self._copied = []

    def release(self) -> None:
        """Give the memory back."""
        self._release()
        self._release = _nothing
        self._slab, self._memory = _no_storage(), None

    def _fill(self, jobs: Sequence[tuple[Tensor, Sequence[_Fill]]]) -> None:
        """Copy bytes to the memory, each to its place, and say where they lie."""
        places, total = [], 0
        for source, _ in jobs:
            places.append(total)
            total += -(-len(source) // _ALIGNED) * _ALIGNED
        devices = {source.device for source, _ in jobs if source.device.type == "cuda"}
        self._reserve(total, pinned=bool(devices))
        self.num_bytes = sum(len(source) for source, _ in jobs)
        for place, (source, fills) in zip(places, jobs, strict=True):
            kept = _no_storage()
            if len(source):
                kept = self._slab[place : place + len(source)]
                _bytes_of(kept).copy_(source, non_blocking=True)
            for fill in fills:
                fill(kept)
        for device in devices:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # of torch
            event.record(torch.cuda.current_stream(device))
            self._copied.append(event)

    def _reserve(self, size: int, *, pinned: bool) -> None:
        if size <= self._slab.nbytes():
            return
        self.release()  # first, so that there are never two
        # pages that nobody touches take no memory: some room spares a new one for a few bytes
        capacity = size + size // 64 + (1 << 16)
        self._memory = memory = _new_memory(capacity)
        self._slab = torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()
        if pinned:
            self._release = _pin(self._slab, memory)


class _Copier:
    """Copies containers and leaves; tensors come out empty, to be filled by storage."""

    def __init__(self) -> None:
        self.storages: dict[int, tuple[torch.UntypedStorage, list[_Fill]]] = {}
        self._done: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        if kind in _UNCHANGING:
            return value
        known = self._done.get(id(value))
        if known is not None:
            return known[1]
        if kind in (dict, OrderedDict):
            return self._mapping(value, kind())
        if kind is list:
            items: list[Any] = []
            self._done[id(value)] = (value, items)
            items.extend(map(self, value))
            return items
        if kind is tuple:
            result: Any = tuple(map(self, value))
        elif isinstance(value, Tensor):
            result = self._tensor(value)
        else:
            result = _deep_copy(value)
        self._done[id(value)] = (value, result)
        return result

    def _mapping(self, value: Any, result: Any) -> Any:
        self._done[id(value)] = (value, result)
        for key, item in value.items():
            result[key] = item if type(item) in _UNCHANGING else self(item)
        if hasattr(value, "_metadata"):
            result._metadata = self(value._metadata)
        return result

    def _tensor(self, value: Tensor) -> Tensor:
        kind = type(value)
        if kind not in (Tensor, nn.Parameter) or not _is_plain(value):
            return value.detach().clone() if value.device.type == "cpu" else value.detach().cpu()
        empty = torch.empty(0, dtype=value.dtype)
        storage = value.untyped_storage()
        place: _Place = (value.shape, value.stride(), int(value.storage_offset()))
        fills = self.storages.setdefault(storage._cdata, (storage, []))[1]
        fills.append(_set(empty, *place))
        if kind is nn.Parameter:
            empty = nn.Parameter(empty, requires_grad=value.requires_grad)
            fills[-1] = _set(empty, *place)
        elif value.requires_grad:
            fills.append(lambda _: empty.requires_grad_())
        return empty


def _is_plain(value: Tensor) -> bool:
    """Whether a tensor is a view of a storage and nothing more."""
    return (
        value.layout is torch.strided
        and value.device.type in ("cpu", "cuda")
        and not (value.is_quantized or value.is_conj() or value.is_neg() or value.is_nested)
    )


def _set(empty: Tensor, shape: torch.Size, stride: tuple[int, ...], offset: int) -> _Fill:
    def fill(storage: torch.UntypedStorage) -> None:
        empty.data = torch.empty(0, dtype=empty.dtype).set_(storage, offset, shape, stride)

    return fill


def _bytes_of(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _no_storage() -> torch.UntypedStorage:
    return torch.empty(0, dtype=torch.uint8).untyped_storage()


def _deep_copy(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # of a class of the user's, which only a `CheckpointIO` of theirs can write
        return value


def _new_memory(size: int) -> mmap.mmap:
    """Memory that is no part of forked processes, which would keep a second copy of it alive."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for advice in ("MADV_DONTFORK", "MADV_HUGEPAGE"):
        if hasattr(mmap, advice):
            try:
                memory.madvise(getattr(mmap, advice))
            except OSError:  # a kernel without it
                continue
    return memory


def _pin(slab: torch.UntypedStorage, memory: mmap.mmap) -> Callable[[], Any]:
    """Let GPUs write into the memory while the process goes on; return what undoes that."""
    runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]  # of torch
    address = slab.data_ptr()
    if int(runtime.cudaHostRegister(address, slab.nbytes(), 0)) != 0:
        return _nothing  # copies wait for the GPU then
    return weakref.finalize(slab, _unpin, runtime, address, memory)


def _unpin(runtime: Any, address: int, memory: mmap.mmap) -> None:
    runtime.cudaHostUnregister(address)


def _nothing() -> None:
    """Nothing was pinned."""
