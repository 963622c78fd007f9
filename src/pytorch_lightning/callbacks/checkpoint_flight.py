"""What a `ModelCheckpoint` does about files that are still being written in the background."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from pytorch_lightning.callbacks.agreement import decide_once
from pytorch_lightning.checkpoint.async_io import AsyncCheckpointIO
from pytorch_lightning.utilities.rank_zero import rank_zero_info

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks.model_checkpoint import ModelCheckpoint

_NOTHING: AbstractContextManager[Any] = nullcontext()


class Flight:
    """Files between being handed over and being there.

    What the callback knows changes when they are handed over, and back if they do not arrive.

    Args:
        is_asked_for: Whether this callback saves in the background where others do not.
    """

    def __init__(self, *, is_asked_for: bool) -> None:
        self._is_asked_for = is_asked_for
        self._before: dict[str, Any] | None = None
        self._tell: Callable[[], None] | None = None
        self._background: AsyncCheckpointIO | None = None

    def open(self, trainer: "pl.Trainer") -> None:
        """Prepare for a run of training."""
        self._before = self._tell = None
        if self._is_asked_for:
            trainer.strategy.save_in_background()
        self._background = trainer.strategy.background

    def close(self, trainer: "pl.Trainer", callback: "ModelCheckpoint") -> None:
        """End a run; what was handed over is there by now, or never will be."""
        self.land()
        self.take_back(callback)
        self._background = None
        if self._is_asked_for:
            trainer.strategy.save_at_once()

    def land(self) -> None:
        """Tell those who wait for the files that they are there."""
        if self._before is None and self._tell is not None:
            self._tell()
            self._tell = None

    def is_passed_over(self, trainer: "pl.Trainer") -> bool:
        """Whether the writer is busy, and this opportunity left out because of that."""
        background = self._background
        if background is None or background.when_busy == "wait":
            return False
        busy = decide_once(trainer, lambda: background.is_busy)
        if busy:
            rank_zero_info(
                f"No checkpoint of step {trainer.global_step}: the one before is still being "
                "written (`when_busy='skip'`)."
            )
        return busy

    def begin(self, trainer: "pl.Trainer", callback: "ModelCheckpoint") -> None:
        """Wait for the files of before; names that are taken are seen on disk by then."""
        trainer.strategy.make_room(str(callback.dirpath))
        self.land()

    def writing(self) -> AbstractContextManager[Any]:
        """Within this, saves are done in the background if that was asked for."""
        background = self._background
        return background.background() if self._is_asked_for and background else _NOTHING

    def hand_over(self, before: Mapping[str, Any], tell: Callable[[], None]) -> None:
        """What was written is on its way.

        Args:
            before: The attributes of the callback as they are if it does not arrive.
            tell: Called in this thread once it is there.
        """
        self._before, self._tell = dict(before), tell
        self.after_saves(self._arrive)
        if self._background is None:
            self.land()

    def after_saves(self, act: Callable[[], None]) -> None:
        """Do something to files when all that was saved before is there."""
        if self._background is None:
            act()
        else:
            self._background.after_saves(act)

    @property
    def is_under_way(self) -> bool:
        """Whether what was just saved is written in the background, and its copy still there."""
        return self._background is not None and self._background.saves_in_background

    def save_again(self, _: str, path: str) -> None:
        """Write the copy of what was just saved once more; called after it was written."""
        assert self._background is not None
        self._background.save_again(path)

    def wait(self, callback: "ModelCheckpoint") -> None:
        """Wait for the files, and forget what did not arrive."""
        if self._background is not None:
            self._background.wait()
        self.take_back(callback)

    def take_back(self, callback: "ModelCheckpoint") -> None:
        """Forget what did not arrive; what is still under way may."""
        if self._background is not None and self._background.is_busy:
            return
        for name, value in (self._before or {}).items():
            setattr(callback, name, value)
        if self._before is not None:
            self._before = self._tell = None

    def _arrive(self) -> None:
        self._before = None
