import sys

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import torch
from examples.run_all import result_of
from examples.semantic_segmentation import Scenes, load, main


def test_a_short_run_beats_the_ground_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Scenes, "__len__", lambda self: self.count // 8)
    assert main(["--epochs", "2"]) == 0
    overlap, ground = result_of("semantic_segmentation", capsys.readouterr().out)
    assert overlap > ground and ground < 0.1
    assert (tmp_path / "demo" / "segmentation" / "scenes.png").stat().st_size > 10_000


def test_no_digit_is_in_both_parts(tmp_path):
    train, val, _, _ = load("digits", tmp_path)
    assert len(train.images) + len(val.images) == 1797
    assert not (train.images[:, None] == val.images).flatten(2).all(2).any()


def test_a_mask_says_where_the_digits_are(tmp_path):
    train, _, _, classes = load("digits", tmp_path)
    scene, mask = train[0]
    assert mask.unique().tolist()[0] == 0 and mask.max() < classes
    assert (scene[0][mask > 0] > 0.4).all()
    assert torch.equal(train[0][0], scene)


def test_pets_that_cannot_be_loaded_are_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert main(["--data", "pets"]) == 2
    assert "`--data pets` cannot be loaded here" in capsys.readouterr().err
