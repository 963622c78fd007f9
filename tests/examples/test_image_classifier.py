import sys

import pytest

pytest.importorskip("sklearn")

from examples.image_classifier import main
from examples.run_all import result_of


def test_a_short_run_beats_the_most_common_digit(tmp_path, capsys):
    assert main(["--epochs", "3"]) == 0
    printed = capsys.readouterr().out
    accuracy, most_common = result_of("image_classifier", printed)
    assert accuracy > 0.8 > 0.2 > most_common
    (checkpoint,) = (tmp_path / "demo" / "classifier").rglob("*.ckpt")
    assert str(checkpoint.relative_to(tmp_path)) in printed


@pytest.mark.extras
def test_the_export_finds_the_same_classes(capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert main(["--epochs", "3"]) == 0
    assert "the same 299 of 299 classes" in capsys.readouterr().out


def test_mnist_that_cannot_be_loaded_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert main(["--data", "mnist"]) == 2
    assert "`--data mnist` cannot be loaded here" in capsys.readouterr().err
