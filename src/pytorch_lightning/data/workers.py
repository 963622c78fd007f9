"""The random state of workers: sent home with each batch, put back on resume."""

import hashlib
import os
import random
import struct
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data._utils import worker as torch_worker

from pytorch_lightning.data.generators import GlobalGenerators, Taken
from pytorch_lightning.utilities.exceptions import DataError

_LENGTHS = struct.Struct("<III")
_PYTHON = struct.Struct("<B?d625I")  # version, is there a gauss, gauss, Mersenne twister
_NUMPY = struct.Struct("<iid")  # position, is there a gauss, gauss


def pack(taken: Taken) -> bytes:
    """The global generators of a process in bytes, which pinning leaves alone."""
    torch_state, (version, words, gauss), numpy_state = taken
    has_numpy = numpy_state is not None and numpy_state[0] == "MT19937"
    torch_part = torch_state.numpy().tobytes() if has_numpy else bytes(torch_state.tolist())
    python_part = _PYTHON.pack(version, gauss is not None, gauss or 0.0, *words)
    numpy_part = b""
    if has_numpy and numpy_state is not None:
        _, keys, place, has_gauss, cached = numpy_state
        numpy_part = _NUMPY.pack(place, has_gauss, cached) + keys.tobytes()
    lengths = _LENGTHS.pack(len(torch_part), len(python_part), len(numpy_part))
    return lengths + torch_part + python_part + numpy_part


def unpack(packed: bytes) -> None:
    """Put packed generators back."""
    torch_length, python_length, numpy_length = _LENGTHS.unpack_from(packed)
    python_at = _LENGTHS.size + torch_length
    numpy_at = python_at + python_length
    torch_part = bytearray(packed[_LENGTHS.size : python_at])
    torch.set_rng_state(torch.frombuffer(torch_part, dtype=torch.uint8))
    version, has_gauss, gauss, *words = _PYTHON.unpack_from(packed, python_at)
    random.setstate((version, tuple(words), gauss if has_gauss else None))
    if numpy_length:
        import numpy  # noqa: PLC0415 - optional; it was there when the state was packed

        place, numpy_gauss, cached = _NUMPY.unpack_from(packed, numpy_at)
        keys = numpy.frombuffer(packed, dtype=numpy.uint32, offset=numpy_at + _NUMPY.size)
        numpy.random.set_state(("MT19937", keys, place, numpy_gauss, cached))


def tensor_of(packed: bytes) -> torch.Tensor:
    """Bytes as a tensor, which a checkpoint may hold."""
    return torch.frombuffer(bytearray(packed), dtype=torch.uint8)


def bytes_of(tensor: torch.Tensor) -> bytes:
    """The bytes again."""
    return bytes(tensor.tolist())


def mixed_seed(*parts: int) -> int:
    """A 128-bit number in which every bit depends on every part."""
    text = ",".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little")


def _seed(torch_seed: int, python_seed: int, numpy_words: Sequence[int]) -> None:
    torch.manual_seed(torch_seed)
    random.seed(python_seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(numpy_words)


# Torch's own mixing, so that a worker is seeded again exactly as it seeded it.
_numpy_words: Callable[[int, int], list[int]] = torch_worker._generate_state


def _seed_as_torch(base_seed: int, worker: int) -> None:
    words = _numpy_words(base_seed, worker)
    _seed(base_seed + worker, base_seed + worker, words)


def _seed_apart(base_seed: int, rank: int, worker: int) -> None:
    """Seed so that ranks, workers and epochs (by their base seed) share no stream."""
    number = mixed_seed(base_seed, rank, worker)
    words = [(number >> shift) & 0xFFFFFFFF for shift in (0, 32, 64, 96)]
    _seed(number & (2**63 - 1), number, words)


def twin_of(loader: DataLoader[Any], changes: Mapping[str, Any]) -> DataLoader[Any]:
    """A loader that differs from the user's in a few parts, which stays as it is."""
    twin: DataLoader[Any] = object.__new__(type(loader))
    twin.__dict__.update(loader.__dict__)
    twin.__dict__.update(changes)  # past `DataLoader.__setattr__`, which refuses
    return twin


def reopened(twin: DataLoader[Any], loader: DataLoader[Any]) -> Iterator[Any]:
    """The iterator of a pass that was begun before: no base seed may be drawn for it."""
    twin.generator = torch.Generator()
    iterator = iter(twin)
    twin.generator = loader.generator
    return iterator


class Resumed(NamedTuple):
    """Where the workers of a pass stood.

    Args:
        base_seed: That the workers of the pass were started with; None for the one they have.
        turn: Which of them makes the next batch.
        states: Their random states, `None` for one that made no batch yet.
    """

    base_seed: int | None
    turn: int
    states: Sequence[bytes | None]


class StartWorker:
    """Runs first in every worker: seeds, the user's function, then the state of a resume.

    Args:
        dataset: What `get_worker_info` answers; None for what the worker reads.
    """

    def __init__(
        self,
        users: Callable[[int], None] | None,
        *,
        rank: int,
        resumed: Resumed | None = None,
        dataset: Any = None,
    ) -> None:
        self.users = users
        self.dataset = dataset
        self.rank = rank
        self.resumed = resumed
        self.seeds_apart = users is None and os.environ.get("PL_SEED_WORKERS", "0") == "1"

    def __call__(self, worker: int) -> None:
        if hasattr(os, "setpgid"):  # what is sent to all of a job is not for workers to die of
            os.setpgid(0, 0)
        info = get_worker_info()
        assert info is not None
        base_seed = info.seed - info.id
        resumed = self.resumed
        if resumed is not None:
            # torch deals the next batch to worker 0, which becomes the one whose turn it is
            worker = (worker + resumed.turn) % info.num_workers
            base_seed = base_seed if resumed.base_seed is None else resumed.base_seed
            _seed_as_torch(base_seed, worker)
        if resumed is not None or self.dataset is not None:
            torch_worker._worker_info = type(info)(
                id=worker,
                num_workers=info.num_workers,
                seed=base_seed + worker,
                dataset=info.dataset if self.dataset is None else self.dataset,
            )
        if self.seeds_apart:
            _seed_apart(base_seed, self.rank, worker)
        if self.users is not None:
            self.users(worker)
        if resumed is not None and (state := resumed.states[worker]) is not None:
            unpack(state)


class Collate:
    """The user's collate function; what else is known of the batch travels beside it.

    Args:
        counts: Say how many samples the batch was made of.
        keeps_state: Say how the random generators stand after it.
        tell: Says more, after which the worker says who it is.
    """

    def __init__(
        self,
        users: Callable[[Any], Any],
        *,
        counts: bool,
        keeps_state: bool,
        tell: Callable[[], bytes] | None = None,
    ) -> None:
        self.users = users
        self.tell = tell
        self.counts = counts
        self.keeps_state = keeps_state
        self.generators = GlobalGenerators()

    def __call__(self, samples: Any) -> tuple[Any, ...]:
        try:
            batch = self.users(samples)
        except (StopIteration, IndexError) as error:
            name = getattr(self.users, "__qualname__", type(self.users).__qualname__)
            raise DataError(
                f"`collate_fn` `{name}` raised {type(error).__name__}: {error}"
            ) from error
        num_samples = len(samples) if self.counts else None
        state = pack(self.generators.take()) if self.keeps_state else None
        if self.tell is None:
            return batch, num_samples, state
        info = get_worker_info()
        return batch, num_samples, state, (info.id if info is not None else 0, self.tell())
