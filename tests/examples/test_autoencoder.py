import re
import sys

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from examples.autoencoder import main

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_short_run_beats_mean_and_pca_and_draws(tmp_path, capsys):
    assert main(["--epochs", "20"]) == 0
    printed = capsys.readouterr().out
    mean, pca, own = (
        float(re.search(rf"  {name} .*?(\d\.\d+)", printed)[1])
        for name in ("the mean digit", "PCA with 3 components", "autoencoder, 3 numbers")
    )
    assert own < 0.95 * pca < pca < mean
    log_dir, checkpoint = (
        tmp_path / re.search(rf"{name} +(\S+)", printed)[1] for name in ("logs", "checkpoint")
    )
    assert checkpoint.parent == log_dir / "checkpoints"
    assert re.fullmatch(r"epoch=\d+-step=\d+\.ckpt", checkpoint.name)
    assert {"hparams.yaml", "metrics.csv"} < {path.name for path in log_dir.iterdir()}
    for name in ("reconstructions.png", "curves.png"):
        assert (tmp_path / "demo" / name).read_bytes().startswith(PNG)


def test_the_same_seed_gives_the_same_error(capsys):
    errors = []
    for _ in range(2):
        main(["--epochs", "2"])
        errors.append(re.search(r"autoencoder, 3 numbers .*", capsys.readouterr().out)[0])
    assert errors[0] == errors[1]


def test_mnist_that_cannot_be_loaded_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert main(["--data", "mnist"]) == 2
    captured = capsys.readouterr()
    assert "`--data mnist` cannot be loaded here" in captured.err
    assert len(captured.err.splitlines()) <= 2  # a line about the seed, and the sentence
