"""How the files of one opportunity to save get to disk: saved, copied or linked."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pytorch_lightning.callbacks.checkpoint_files import copy_checkpoint, link_file
from pytorch_lightning.callbacks.checkpoint_flight import Flight
from pytorch_lightning.callbacks.checkpoint_turn import Turn
from pytorch_lightning.utilities import paths

if TYPE_CHECKING:
    import pytorch_lightning as pl

Save = Callable[[str, bool], None]


def write_files(
    trainer: "pl.Trainer", turn: Turn, flight: Flight, *, links: bool, alone: bool
) -> None:
    """Write the ranked file and the last one, which holds the same state.

    Args:
        links: Whether the last one is a link to the ranked one, where there is one.
        alone: In this process, since others may be gone.
    """
    save: Save = trainer._save_alone if alone else trainer.save_checkpoint
    if turn.path:
        save(turn.path, turn.weights_only)
    if not turn.last or turn.last == turn.path:
        return
    write = _second_name(trainer, turn, flight, links=links)
    if write is None:
        save(turn.last, turn.weights_only)
    elif trainer.is_global_zero:
        flight.after_saves(partial(write, turn.path, turn.last))
    if not alone:
        trainer.strategy.barrier()


def _second_name(
    trainer: "pl.Trainer", turn: Turn, flight: Flight, *, links: bool
) -> Callable[[str, str], None] | None:
    """What gives the file that was just saved another name; None where it is saved once more."""
    strategy, files = trainer.strategy, turn.path and not paths.is_remote(turn.path)
    one_file = strategy.saves_alone or strategy.background is not None
    if files and links:
        return link_file
    if files and one_file and strategy.writes_plain_files:
        return copy_checkpoint  # cheaper than to serialize twice
    if turn.path and flight.is_under_way:
        return flight.save_again
    return None
