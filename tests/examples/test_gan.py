import sys

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from examples.gan import main
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


@pytest.mark.parametrize("style", ["manual", "automatic"])
def test_a_short_run_shows_a_grid_after_each_epoch(style, tmp_path, capsys):
    assert main(["--epochs", "1", "--style", style]) == 0
    assert "samples" in capsys.readouterr().out
    folder = tmp_path / "demo" / "gan"
    assert {path.name for path in folder.glob("*.png")} == {"epoch-000.png", "samples.png"}
    (events,) = folder.rglob("events*")
    shown = EventAccumulator(str(events)).Reload().Images("samples")
    assert [image.step for image in shown] == [0]


def test_mnist_that_cannot_be_loaded_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert main(["--data", "mnist"]) == 2
    assert "`--data mnist` cannot be loaded here" in capsys.readouterr().err
