"""A bar that cannot draw leaves the run alone."""

import pytest

from pytorch_lightning.callbacks.progress import ProgressBar
from pytorch_lightning.callbacks.progress.never_fatal import never_fatal


class Torn(ProgressBar):
    """A bar whose paper is torn."""

    drawings = 0

    @never_fatal
    def draw(self, error: BaseException) -> None:
        self.drawings += 1
        raise error


def test_a_failure_is_told_once_and_the_bar_is_off():
    bar = Torn()
    with pytest.warns(UserWarning, match="`Torn` failed in `draw`.*BrokenPipeError: closed"):
        bar.draw(BrokenPipeError("closed"))
    bar.draw(BrokenPipeError("closed"))
    assert bar.drawings == 1


def test_enable_gives_it_another_chance():
    bar = Torn()
    for _ in range(2):
        bar.enable()
        with pytest.warns(UserWarning, match="ValueError"):
            bar.draw(ValueError("no"))
    assert bar.drawings == 2


def test_an_interrupt_is_no_failure_to_draw():
    with pytest.raises(KeyboardInterrupt):
        Torn().draw(KeyboardInterrupt())
