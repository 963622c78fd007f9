"""Precisions by name, and the classes under the names of earlier releases."""

import importlib

import pytest
import torch

from pytorch_lightning import Trainer
from pytorch_lightning.plugins import MixedPrecision, Precision
from pytorch_lightning.precision.names import PRECISIONS, canonical_precision


@pytest.mark.parametrize("name", PRECISIONS)
def test_names_of_today_stay_as_they_are(name):
    assert canonical_precision(name) == name


@pytest.mark.parametrize(
    ("older", "today"),
    [
        *((None, "32-true"), (32, "32-true"), ("32", "32-true"), (64, "64-true")),
        *(("64", "64-true"), (16, "16-mixed"), ("16", "16-mixed"), ("mixed", "16-mixed")),
        ("bf16", "bf16-mixed"),
    ],
)
def test_older_spellings(older, today):
    assert canonical_precision(older) == today


@pytest.mark.parametrize("wrong", ["fp16", "BF16", 8, 16.0, True, "16-Mixed", ""])
def test_others_are_refused_by_value(wrong):
    with pytest.raises(ValueError, match="`precision="):
        canonical_precision(wrong)


@pytest.mark.parametrize(
    "home", ["pytorch_lightning.plugins", "pytorch_lightning.plugins.precision"]
)
@pytest.mark.parametrize(
    ("older", "today"),
    [
        ("PrecisionPlugin", "Precision"),
        ("MixedPrecisionPlugin", "MixedPrecision"),
        ("NativeMixedPrecisionPlugin", "MixedPrecision"),
        ("DoublePrecisionPlugin", "DoublePrecision"),
        ("HalfPrecisionPlugin", "HalfPrecision"),
        ("TransformerEnginePrecisionPlugin", "TransformerEnginePrecision"),
        ("BitsandbytesPrecisionPlugin", "BitsandbytesPrecision"),
    ],
)
def test_classes_of_earlier_releases_are_those_of_today(home, older, today):
    module = importlib.import_module(home)
    assert getattr(module, older) is getattr(module, today)


def test_apex_says_what_to_write():
    with pytest.raises(ImportError, match="apex is gone; use .*16-mixed"):
        importlib.import_module("pytorch_lightning.plugins").ApexMixedPrecisionPlugin  # noqa: B018


@pytest.mark.parametrize(
    ("written", "name"), [(16, "16-mixed"), ("16", "16-mixed"), ("bf16", "bf16-mixed")]
)
def test_mixed_precision_as_1_x_writes_it(written, name, tmp_path):
    from pytorch_lightning.plugins import NativeMixedPrecisionPlugin

    scaler = torch.amp.GradScaler("cpu") if name == "16-mixed" else None
    mine = NativeMixedPrecisionPlugin(written, "cpu", scaler)
    trainer = Trainer(accelerator="cpu", plugins=[mine], logger=False, default_root_dir=tmp_path)
    assert trainer.precision_plugin is mine
    assert (mine.precision, mine.scaler, trainer.scaler) == (name, scaler, scaler)


def test_a_device_may_have_a_number():
    mine = MixedPrecision("bf16-mixed", "cuda:1")
    assert mine.device_types == ("cuda",)
    assert Precision.device_types is None
    assert mine.forward_context() is not None
