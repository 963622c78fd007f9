"""Precisions of other packages: what is asked of them, and what is said where they are missing.

The packages need GPUs; stand-ins with the few names that are used show what becomes of a module.
"""

import contextlib
import importlib.util
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from pytorch_lightning import Trainer
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.plugins import (
    BitsandbytesPrecision,
    TorchAOPrecision,
    TransformerEnginePrecision,
)


def missing(name):
    return importlib.util.find_spec(name) is None


@pytest.mark.skipif(not missing("transformer_engine"), reason="the package is installed")
def test_without_the_engine_a_sentence_says_so():
    with pytest.raises(
        ModuleNotFoundError, match="`precision='transformer-engine'` needs .*pip install"
    ):
        TransformerEnginePrecision(weights_dtype=torch.bfloat16)
    with pytest.raises(ModuleNotFoundError, match="'transformer-engine-float16'"):
        TransformerEnginePrecision(weights_dtype=torch.float16)


@pytest.mark.skipif(not missing("bitsandbytes"), reason="the package is installed")
def test_without_bitsandbytes_a_sentence_says_so():
    with pytest.raises(ModuleNotFoundError, match="`BitsandbytesPrecision` needs bitsandbytes"):
        BitsandbytesPrecision("nf4")


@pytest.mark.skipif(not missing("torchao"), reason="the package is installed")
def test_without_torchao_a_sentence_says_so():
    with pytest.raises(ModuleNotFoundError, match="`TorchAOPrecision` needs torchao"):
        TorchAOPrecision(object())


def stand_in(monkeypatch, name, **content):
    module = ModuleType(name)
    module.__path__ = []
    for key, value in content.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
    return module


# --- Transformer Engine ---


class EngineLinear(nn.Linear):
    pass


class EngineNorm(nn.LayerNorm):
    pass


for _layer in (EngineLinear, EngineNorm):
    _layer.__module__ = "transformer_engine.pytorch"


@pytest.fixture
def engine(monkeypatch):
    used = []

    @contextlib.contextmanager
    def fp8_autocast(*, enabled, fp8_recipe):
        used.append((enabled, fp8_recipe, torch.get_default_dtype()))
        yield

    class DelayedScaling:
        def __init__(self, **options):
            self.options = options

    stand_in(monkeypatch, "transformer_engine")
    module = stand_in(
        monkeypatch,
        "transformer_engine.pytorch",
        Linear=EngineLinear,
        LayerNorm=EngineNorm,
        fp8_autocast=fp8_autocast,
    )
    stand_in(monkeypatch, "transformer_engine.common")
    stand_in(
        monkeypatch,
        "transformer_engine.common.recipe",
        DelayedScaling=DelayedScaling,
        Format=type("Format", (), {"HYBRID": "both kinds"}),
    )
    module.used = used
    return module


def small():
    return nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.Linear(32, 3))


def test_layers_are_exchanged_where_they_fit(engine):
    precision = TransformerEnginePrecision(weights_dtype=torch.bfloat16)
    before = small()
    weight = before[0].weight.detach().clone()
    with pytest.warns(UserWarning, match=r"Linear\(32, 3\) stays as it is"):
        module = precision.convert_module(before)
    assert [type(layer) for layer in module] == [EngineLinear, EngineNorm, nn.Linear]
    assert torch.equal(module[0].weight, weight.to(torch.bfloat16))
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("replace", [None, False])
def test_layers_are_left_alone(engine, replace):
    precision = TransformerEnginePrecision(weights_dtype=torch.float16, replace_layers=replace)
    assert precision.precision == "transformer-engine-float16"
    layers = nn.Sequential(nn.Linear(16, 16), *([EngineLinear(16, 16)] if replace is None else []))
    assert type(precision.convert_module(layers)[0]) is nn.Linear


def test_asking_for_an_exchange_that_was_done_is_told(engine):
    precision = TransformerEnginePrecision(weights_dtype=torch.float16, replace_layers=True)
    with pytest.warns(UserWarning, match="has layers of Transformer Engine already"):
        precision.convert_module(nn.Sequential(EngineLinear(16, 16)))


def test_a_step_runs_in_8_bits_with_the_recipe(engine):
    precision = TransformerEnginePrecision(
        weights_dtype=torch.bfloat16, recipe={"fp8_format": "HYBRID", "margin": 2}
    )
    assert precision.recipe.options == {"fp8_format": "both kinds", "margin": 2}
    with precision.forward_context():
        assert torch.empty(()).dtype == torch.bfloat16
    ((enabled, recipe, dtype),) = engine.used
    assert (enabled, recipe, dtype) == (True, precision.recipe, torch.bfloat16)
    assert torch.get_default_dtype() == torch.float32
    assert precision.convert_input({"x": torch.ones(2)})["x"].dtype == torch.bfloat16
    assert precision.convert_output(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32


def test_other_widths_are_refused(engine):
    with pytest.raises(ValueError, match=r"`weights_dtype=torch.float32`"):
        TransformerEnginePrecision(weights_dtype=torch.float32)


# --- bitsandbytes ---


class FourBits(nn.Linear):
    def __init__(self, *shape, bias, compute_dtype, compress_statistics, quant_type):
        super().__init__(*shape, bias=bias)
        self.options = (compute_dtype, compress_statistics, quant_type)
        self.weight.requires_grad_(False)

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


class EightBits(nn.Linear):
    def __init__(self, *shape, bias, has_fp16_weights, threshold):
        super().__init__(*shape, bias=bias)
        self.options = (has_fp16_weights, threshold)


@pytest.fixture
def bits(monkeypatch):
    stand_in(monkeypatch, "bitsandbytes")
    return stand_in(monkeypatch, "bitsandbytes.nn", Linear4bit=FourBits, Linear8bitLt=EightBits)


@pytest.mark.parametrize(
    ("mode", "kind", "options"),
    [
        ("nf4", FourBits, (torch.bfloat16, False, "nf4")),
        ("nf4-dq", FourBits, (torch.bfloat16, True, "nf4")),
        ("fp4", FourBits, (torch.bfloat16, False, "fp4")),
        ("fp4-dq", FourBits, (torch.bfloat16, True, "fp4")),
        ("int8", EightBits, (False, 6.0)),
        ("int8-training", EightBits, (True, 6.0)),
    ],
)
def test_each_mode_makes_its_layers(bits, mode, kind, options):
    precision = BitsandbytesPrecision(mode)
    module = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    weight = module[0].weight.detach().clone()
    converted = precision.convert_module(module)
    assert type(converted[0]) is kind
    assert converted[0].options == options
    assert torch.equal(converted[0].weight, weight)
    assert converted[1].weight.dtype == precision.dtype


def test_ignored_modules_keep_their_layers(bits):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(2, 2))
            self.body_of_another = nn.Linear(2, 2)
            self.head = nn.Linear(2, 2)

    module = BitsandbytesPrecision("nf4", ignore_modules={"body"}).convert_module(Net())
    assert type(module.body[0]) is nn.Linear
    assert type(module.body_of_another) is type(module.head) is FourBits


def test_layers_that_are_shared_stay_shared(bits):
    one = nn.Linear(2, 2)
    module = BitsandbytesPrecision("nf4").convert_module(nn.Sequential(one, one))
    assert module[0] is module[1]


def test_what_is_not_frozen_is_trained(bits, tmp_path):
    class Model(BoringModel):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(2)

        def forward(self, x):
            return self.norm(self.layer(x))

        def training_step(self, batch, batch_idx):
            return self(batch).float().pow(2).sum()

    model = Model()
    bias = model.norm.bias.detach().clone()
    trainer = Trainer(
        accelerator="cpu",
        plugins=BitsandbytesPrecision("nf4"),
        max_steps=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model)
    assert trainer.precision == "bf16-true"
    assert type(model.layer) is FourBits
    assert not torch.equal(model.norm.bias, bias.to(torch.bfloat16))


def test_a_module_without_linear_layers_is_told(bits):
    with pytest.warns(UserWarning, match="no `torch.nn.Linear`"):
        BitsandbytesPrecision("int8").convert_module(nn.Sequential(nn.Conv1d(1, 1, 1)))


def test_what_bitsandbytes_cannot_do_is_refused(bits):
    with pytest.raises(ValueError, match="`mode='int4'`"):
        BitsandbytesPrecision("int4")
    with pytest.raises(ValueError, match="computes in torch.float16"):
        BitsandbytesPrecision("int8", dtype=torch.bfloat16)


# --- torchao ---


def test_torchao_converts_before_optimizers_are_made(monkeypatch, tmp_path):
    asked = []

    def quantize_(module, config, filter_fn):
        asked.append((module, config, filter_fn))

    stand_in(monkeypatch, "torchao")
    stand_in(monkeypatch, "torchao.quantization", quantize_=quantize_)

    class Model(BoringModel):
        def configure_optimizers(self):
            assert len(asked) == 1
            return super().configure_optimizers()

    model, config = Model(), object()
    trainer = Trainer(
        accelerator="cpu",
        plugins=TorchAOPrecision(config),
        max_steps=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model)
    assert asked == [(model, config, None)]
