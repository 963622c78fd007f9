"""Random generators, taken cheaply and turned into plain data only when that is asked for."""

import random
import sys
from ctypes import string_at
from typing import Any

import torch

from pytorch_lightning.utilities.seed import isolate_rng, restore_rng

_MERSENNE_BYTES = 625 * 4  # NumPy's MT19937: 624 words and the place among them

Taken = tuple[torch.Tensor, tuple[Any, ...], tuple[Any, ...] | None]


class GlobalGenerators:
    """Takes the generators that a process shares: torch's, Python's, NumPy's.

    NumPy takes long to say its state, so it is asked only when its memory has changed. That is
    enough as long as no half of a pair of Gaussian draws waits, which lies elsewhere.
    """

    def __init__(self) -> None:
        self._bits: Any = None
        self._memory = b""
        self._numpy: tuple[Any, ...] | None = None

    def take(self) -> Taken:
        """The states now, as the generators give them."""
        return torch.get_rng_state(), random.getstate(), self._take_numpy()

    def _take_numpy(self) -> tuple[Any, ...] | None:
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return None
        bits: Any = getattr(numpy.random, "get_bit_generator", lambda: None)()
        memory = b""
        if type(bits).__name__ == "MT19937":
            memory = string_at(bits.ctypes.state_address, _MERSENNE_BYTES)
            known = self._numpy
            if bits is self._bits and memory == self._memory and known and not known[3]:
                return known
        self._bits, self._memory = bits, memory
        state: tuple[Any, ...] = numpy.random.get_state()
        self._numpy = state if memory else None
        return state


def as_plain(taken: Any) -> Any:
    """Turn what was taken into what `restore_rng` puts back; plain data stays as it is."""
    if not isinstance(taken, tuple):
        return taken
    torch_state, (version, words, gauss), numpy_state = taken
    plain: dict[str, Any] = {
        "torch": torch_state,
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
    }
    if numpy_state is not None:
        name, keys, place, has_gauss, cached = numpy_state
        words64 = torch.tensor(keys.astype("int64"))
        plain["numpy"] = [name, words64, int(place), int(has_gauss), float(cached)]
    return plain


def is_generator(value: Any) -> bool:
    """Whether an object is a random generator of its own."""
    return isinstance(value, torch.Generator | random.Random) or _is_numpy_generator(value)


def _is_numpy_generator(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.random.Generator)


def state_of(generator: Any) -> Any:
    """The state of a generator as plain data."""
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        version, words, gauss = generator.getstate()
        return [version, torch.tensor(words, dtype=torch.int64), gauss]
    return _without_arrays(generator.bit_generator.state)


def restore_generator(generator: Any, state: Any) -> None:
    """Put back what `state_of` gave."""
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        version, words, gauss = state
        generator.setstate((version, tuple(words.tolist()), gauss))
    else:
        generator.bit_generator.state = state


def _without_arrays(state: Any) -> Any:
    """NumPy's dictionaries with lists for arrays, which a safe reader accepts."""
    if isinstance(state, dict):
        return {name: _without_arrays(value) for name, value in state.items()}
    return state.tolist() if hasattr(state, "tolist") else state


class OwnGenerators:
    """Puts other states into the shared generators for a while; it can be entered again and again.

    Attributes:
        state: Of the generators inside, as taken or as plain data.
    """

    def __init__(self) -> None:
        self.state: Any = None
        self._shared = GlobalGenerators()
        self._outside: Taken | None = None

    def seed(self, number: int) -> None:
        """Start from a number."""
        with isolate_rng(include_cuda=False):
            torch.default_generator.manual_seed(number & (2**63 - 1))  # the one of the CPU alone
            random.seed(number)
            if (numpy := sys.modules.get("numpy")) is not None:
                numpy.random.seed([(number >> shift) & 0xFFFFFFFF for shift in (0, 32, 64, 96)])
            self.state = self._shared.take()

    def __enter__(self) -> None:
        self._outside = self._shared.take()
        _put(self.state)

    def __exit__(self, *error: object) -> None:
        assert self._outside is not None
        self.state = self._shared.take()
        _put(self._outside)


def _put(taken: Any) -> None:
    if not isinstance(taken, tuple):
        restore_rng(taken)
        return
    torch_state, python_state, numpy_state = taken
    torch.set_rng_state(torch_state)
    random.setstate(python_state)
    numpy = sys.modules.get("numpy")
    if numpy_state is not None and numpy is not None:
        numpy.random.set_state(numpy_state)
