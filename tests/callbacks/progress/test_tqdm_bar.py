"""Numbers behind a bar, and the attributes that hold bars."""

import math

import pytest

from pytorch_lightning.callbacks.progress import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "1"),
        (2.0, "2.000"),
        (0.5, "0.500"),
        (0.123456, "0.123"),
        (40.2, "40.20"),
        (107.0, "107.0"),
        (1234.5678, "1.23e+3"),
        (1e-7, "1e-7"),
        (12345678, "1.23e+7"),
        ("abcdefgh", "abcdefgh"),
        ("ab", "ab"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_numbers_keep_their_width(number, text):
    assert Tqdm.format_num(number) == text


@pytest.mark.parametrize("stage", ["train", "val", "test", "predict", "main", "sanity"])
def test_a_bar_that_is_not_made_yet_says_so(stage):
    with pytest.raises(TypeError, match="progress_bar` is there once its stage begins"):
        getattr(TQDMProgressBar(), f"{stage}_progress_bar")


def test_bars_can_be_put_in_place_by_hand():
    bar, drawn = TQDMProgressBar(), Tqdm(disable=True)
    bar.train_progress_bar = drawn
    assert bar.train_progress_bar is drawn
    assert bar.main_progress_bar is drawn


def test_a_bar_needs_no_watching_thread():
    assert Tqdm.monitor_interval == 0
