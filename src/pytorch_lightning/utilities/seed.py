"""Every random generator of a process: seeded, captured and put back."""

import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from pytorch_lightning.utilities.environ import read_flag, read_int, read_text
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

MAX_SEED = 2**32 - 1


def seed_everything(seed: int | None = None, workers: bool = False, verbose: bool = True) -> int:
    """Seed Python, NumPy (where it is installed) and torch.

    Args:
        seed: 0 to 4294967295; `None` reads `PL_GLOBAL_SEED`, else takes 0.
        workers: Also derive the seeds of loader workers from rank, worker and epoch.

    Returns:
        The seed that was used.
    """
    if seed is None:
        seed = _seed_of_environment()
    if not isinstance(seed, int):
        try:
            seed = int(seed)
        except (TypeError, ValueError):
            raise ValueError(f"`seed={seed!r}`: pass a whole number, e.g. 42.") from None
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"`seed={seed}` is out of range: pass a number from 0 to {MAX_SEED}.")
    if verbose:
        rank_zero_info(f"Seed set to {seed}")
    os.environ["PL_GLOBAL_SEED"] = str(seed)
    os.environ["PL_SEED_WORKERS"] = str(int(workers))
    random.seed(seed)
    numpy = _numpy_random()
    if numpy is not None:
        numpy.seed(seed)
    torch.manual_seed(seed)
    return seed


def _seed_of_environment() -> int:
    text = read_text("PL_GLOBAL_SEED")
    if text is None:
        rank_zero_warn("No seed found, seed set to 0")
        return 0
    try:
        return int(text)
    except ValueError:
        rank_zero_warn(f"`PL_GLOBAL_SEED={text!r}` is no number; seed set to 0")
        return 0


def _numpy_random() -> Any:
    """NumPy's global generator; NumPy is loaded by whoever draws from it."""
    try:
        import numpy  # noqa: PLC0415 - optional
    except Exception:  # a broken optional package must not end a run
        return None
    return numpy.random


def reset_seed() -> None:
    """Seed again with what `seed_everything` set, if it was called."""
    seed = read_text("PL_GLOBAL_SEED")
    if seed is not None:
        seed_everything(int(seed), workers=read_flag("PL_SEED_WORKERS"), verbose=False)


def seed_in_use() -> dict[str, int] | None:
    """What `seed_everything` was told in this process or before it; None if nobody called it."""
    try:
        seed = read_int("PL_GLOBAL_SEED")
    except ValueError:  # which `seed_everything` warns of
        return None
    return None if seed is None else {"global": seed, "workers": read_flag("PL_SEED_WORKERS")}


def use_seed(seed: Mapping[str, int]) -> None:
    """Go on under the seed of `seed_in_use`, without drawing or seeding anything now."""
    os.environ["PL_GLOBAL_SEED"] = str(seed["global"])
    os.environ["PL_SEED_WORKERS"] = str(int(seed["workers"]))


def capture_rng(*, accelerators: bool = True) -> dict[str, Any]:
    """The state of every generator as plain data that a safe reader accepts."""
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
    }
    if "numpy" in sys.modules and (numpy := _numpy_random()) is not None:
        name, keys, position, has_gauss, cached = numpy.get_state()
        words64 = torch.tensor(keys.astype("int64"))
        state["numpy"] = [name, words64, int(position), int(has_gauss), float(cached)]
    if accelerators and torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_rng(state: dict[str, Any]) -> None:
    """Put back what `capture_rng` took."""
    torch.set_rng_state(state["torch"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    if "numpy" in state and (numpy := _numpy_random()) is not None:
        name, keys, position, has_gauss, cached = state["numpy"]
        numpy.set_state((name, keys.numpy().astype("uint32"), position, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def isolate_rng(include_cuda: bool = True) -> Iterator[None]:
    """Leave every generator as it was found."""
    state = capture_rng(accelerators=include_cuda)
    try:
        yield
    finally:
        restore_rng(state)
