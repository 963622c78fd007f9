"""Divided modules against one process: the same weights, optimizer states and results."""

import functools
import os

import pytest
import torch
from tests.distributed.ranks import run_ranks
from tests.distributed.test_uneven import Line, Stream, batch_of, oracle
from torch import nn

import pytorch_lightning as pl
from pytorch_lightning.fabric import Fabric
from pytorch_lightning.plugins import FSDPPrecision
from pytorch_lightning.strategies import FSDPStrategy, StrategyRegistry
from pytorch_lightning.utilities.exceptions import MisconfigurationException

QUIET = dict(
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)

IN_64_BITS = {"precision": "64-true"}


class Net(pl.LightningModule):
    """Layers of odd sizes, a parameter without a dimension, a frozen one."""

    def __init__(self, optimizer="Adam", on_meta=False):
        super().__init__()
        torch.manual_seed(0)
        with torch.device("meta" if on_meta else "cpu"):
            self.first = nn.Sequential(nn.Linear(4, 7), nn.Tanh())
            self.second = nn.Linear(7, 3)
        self.offset = nn.Parameter(torch.ones(3))
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.fixed = nn.Parameter(torch.full((3,), 0.5), requires_grad=False)
        self.optimizer = optimizer

    def forward(self, x):
        return self.second(self.first(x)) * self.scale + self.offset + self.fixed

    def training_step(self, batch, batch_idx):
        return (self.first(batch).sum(1) - self(batch).sum(1)).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val", self(batch).pow(2).mean(), sync_dist=True)

    def predict_step(self, batch, batch_idx):
        return self(batch)

    def configure_optimizers(self):
        kind = getattr(torch.optim, self.optimizer)
        return kind([p for p in self.parameters() if p.requires_grad], lr=0.05)


class Adversaries(pl.LightningModule):
    """Two optimizers by hand, with a backward for each."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.automatic_optimization = False
        self.maker = nn.Linear(4, 4)
        self.judge = nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        for_maker, for_judge = self.optimizers()
        loss = -self.judge(self.maker(batch)).tanh().mean()
        for_maker.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(for_maker, gradient_clip_val=0.1, gradient_clip_algorithm="norm")
        for_maker.step()
        loss = (self.judge(self.maker(batch).detach()) - self.judge(batch)).pow(2).mean()
        for_judge.zero_grad()
        self.manual_backward(loss)
        for_judge.step()

    def configure_optimizers(self):
        return (
            torch.optim.Adam(self.maker.parameters(), lr=0.05),
            torch.optim.SGD(self.judge.parameters(), lr=0.05),
        )


class Tied(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.into = nn.Linear(4, 4, bias=False)
        self.out = nn.Linear(4, 4, bias=False)
        self.out.weight = self.into.weight

    def training_step(self, batch, batch_idx):
        return self.out(self.into(batch).tanh()).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batches(count=4, size=6):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 4, generator=generator) for _ in range(count)]


def whole(module):
    """Every parameter as a list; each rank has to ask."""
    found = {}
    for name, parameter in module.named_parameters():
        full = getattr(parameter, "full_tensor", None)
        found[name] = (parameter if full is None else full()).detach().tolist()
    return found


def states(optimizer):
    """What an optimizer keeps, whole, by the number of the parameter."""
    found = {}
    for number, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            full = getattr(value, "full_tensor", None)
            found[f"{number}.{name}"] = (value if full is None else full()).tolist()
    return found


def fit(module, strategy="auto", world=1, size=6, **kwargs):
    rank = int(os.environ.get("RANK", 0))
    options = {**QUIET, "max_epochs": 1, "use_distributed_sampler": False, **IN_64_BITS, **kwargs}
    trainer = pl.Trainer(devices=world, strategy=strategy, **options)
    trainer.fit(module, [batch[rank::world] for batch in batches(size=size)])
    return trainer


def _fits(world, cells):
    found = []
    for make, options, kwargs in cells:
        module = make()
        trainer = fit(module, FSDPStrategy(**options), world, **kwargs)
        found.append((whole(module), [states(o) for o in trainer.optimizers]))
    return found


def assert_close(found, expected, atol=1e-12):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            torch.tensor(found[name]), torch.tensor(value), rtol=0, atol=atol, msg=name
        )


CLASSES = {nn.Sequential, nn.Linear}


def _small(module, recurse, nonwrapped_numel):
    return recurse or isinstance(module, nn.Linear)


CELLS = {
    "one unit": (Net, {}, {}),
    "units by class": (Net, {"auto_wrap_policy": CLASSES}, {}),
    "units by a function": (Net, {"auto_wrap_policy": _small}, {}),
    "kept after forward": (Net, {"sharding_strategy": "SHARD_GRAD_OP"}, {}),
    "recomputed": (Net, {"activation_checkpointing_policy": CLASSES}, {}),
    "recomputed units": (
        Net,
        {"activation_checkpointing": [nn.Linear], "auto_wrap_policy": CLASSES},
        {},
    ),
    "SGD": (functools.partial(Net, "SGD"), {}, {}),
    "clipped by norm": (Net, {"auto_wrap_policy": CLASSES}, {"gradient_clip_val": 0.1}),
    "clipped by value": (
        Net,
        {},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    ),
    "accumulated": (Net, {}, {"accumulate_grad_batches": 3}),
    "on the meta device": (functools.partial(Net, on_meta=True), {}, {}),
    "two optimizers by hand": (Adversaries, {}, {}),
    "two by hand in units": (Adversaries, {"auto_wrap_policy": {nn.Linear}}, {}),
    "tied": (Tied, {"auto_wrap_policy": {nn.Linear}}, {}),
}


@pytest.fixture(scope="module")
def fitted():
    return run_ranks(_fits, 2, 2, list(CELLS.values()))


@pytest.mark.parametrize("name", [n for n in CELLS if n != "on the meta device"])
def test_weights_and_states_are_those_of_one_process(fitted, name):
    make, _, kwargs = CELLS[name]
    module = make()
    trainer = fit(module, **kwargs)
    place = list(CELLS).index(name)
    for rank in range(2):
        weights, found = fitted[rank][place]
        assert_close(weights, whole(module))
        for ours, theirs in zip(found, trainer.optimizers, strict=True):
            assert_close(ours, states(theirs))


def test_layers_on_the_meta_device_get_the_same_values_everywhere(fitted):
    first, second = (found[list(CELLS).index("on the meta device")][0] for found in fitted)
    assert first == second
    assert torch.tensor(first["second.weight"]).std() > 0.1


# --- Fabric -------------------------------------------------------------------------------------


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 7), nn.Linear(7, 3)
        self.shift = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.second(self.first(x).tanh())

    def score(self, x):
        return (self.shift + self(x)).pow(2).mean()


def _by_hand(fabric, folder=None):
    """Windows of two batches; the optimizer was made before the module was divided."""
    module = Plain()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    model, optimizer = fabric.setup(module, optimizer)
    model.mark_forward_method("score")
    rank, world = fabric.global_rank, fabric.world_size
    norms = []
    for index, batch in enumerate(batches()):
        with fabric.no_backward_sync(model, enabled=index % 2 == 0):
            fabric.backward(model.score(batch.double()[rank::world]))
        if index % 2:
            norms.append(fabric.clip_gradients(model, optimizer, max_norm=1.0).item())
            optimizer.step()
            optimizer.zero_grad()
    if folder is not None:
        path = f"{folder}/state-{fabric.strategy.saves_in_parts}.ckpt"
        fabric.save(path, {"model": model, "optimizer": optimizer, "step": 2})
        before = whole(module), states(optimizer.optimizer)
        with torch.no_grad():
            [parameter.zero_() for parameter in module.parameters()]
        state = {"model": model, "optimizer": optimizer, "step": 0}
        fabric.load(path, state)
        assert state["step"] == 2
        assert (whole(module), states(optimizer.optimizer)) == before
    return whole(module), norms


def _fabric(world, folder):
    found = []
    for kind in ("full", "sharded"):
        strategy = FSDPStrategy(auto_wrap_policy={nn.Linear}, state_dict_type=kind)
        fabric = Fabric(accelerator="cpu", devices=world, strategy=strategy, precision="64-true")
        fabric.launch()
        found.append(_by_hand(fabric, folder))
    return found


def test_a_loop_by_hand_equals_one_process(tmp_path):
    fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
    weights, norms = _by_hand(fabric)
    for found in run_ranks(_fabric, 2, 2, str(tmp_path)):
        for ours, ours_norms in found:
            assert_close(ours, weights)
            assert ours_norms == pytest.approx(norms, abs=1e-12)


# --- what else runs -----------------------------------------------------------------------------


def _groups(world):
    """Two groups of two, the words of torch's first FSDP, a layer that `wrap` names."""
    from torch.distributed.fsdp import ShardingStrategy

    class Named(Net):
        def configure_model(self):
            from torch.distributed.fsdp.wrap import wrap

            self.second = wrap(self.second)

    module = Named()
    kind = ShardingStrategy.HYBRID_SHARD
    strategy = FSDPStrategy(sharding_strategy=kind, device_mesh=(2, 2), use_orig_params=True)
    fit(module, strategy, world, size=8)
    names = [n for n, m in module.named_modules() if type(m).__name__.startswith("FSDP")]
    return whole(module), names, strategy.mesh.mesh_dim_names


def test_groups_that_each_hold_all_parameters():
    module = Net()
    fit(module, size=8)
    for weights, names, axes in run_ranks(_groups, 4, 4):
        assert_close(weights, whole(module))
        assert names == ["", "second"] and axes == ("replicate", "shard")


def _policies():
    """How torch's own policies divide; one process is enough to see it."""
    from torch.distributed.fsdp.wrap import (
        ModuleWrapPolicy,
        size_based_auto_wrap_policy,
        transformer_auto_wrap_policy,
    )

    by_size = functools.partial(size_based_auto_wrap_policy, min_num_params=30)
    of_layers = functools.partial(transformer_auto_wrap_policy, transformer_layer_cls={nn.Linear})
    found = []
    for policy in (ModuleWrapPolicy({nn.Sequential}), by_size, of_layers, [nn.Tanh], nn.Linear):
        module = Net()
        fit(module, FSDPStrategy(auto_wrap_policy=policy))
        found.append(
            [n for n, m in module.named_modules() if type(m).__name__.startswith("FSDP") and n]
        )
    return found


def test_policies_of_torch_name_the_units():
    assert run_ranks(_policies, 1)[0] == [
        ["first"],
        ["first.0"],
        ["first.0", "second"],
        [],
        ["first.0", "second"],
    ]


def _precisions(world):
    found = {}
    for name in ("bf16-mixed", "16-mixed", "bf16-true", "16-true", "32-true"):
        module = Typed()
        trainer = fit(module, FSDPStrategy(auto_wrap_policy={nn.Linear}), world, precision=name)
        kinds = {str(p.dtype) for p in module.parameters()}
        finite = all(torch.isfinite(p.full_tensor()).all() for p in module.parameters())
        plugin = trainer.precision_plugin
        found[name] = (module.seen, kinds, finite, type(plugin).__name__)
    from torch.distributed.fsdp import MixedPrecision

    module = Overflow()
    plugin = FSDPPrecision("16-mixed", torch.amp.GradScaler("cpu", init_scale=256.0), "cpu")
    trainer = fit(module, FSDPStrategy(precision_plugin=plugin), world, precision=None)
    found["skipped"] = module.moved, trainer.precision_plugin.scaler.get_scale()

    own = Typed()
    types = MixedPrecision(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    fit(own, FSDPStrategy(mixed_precision=types), world, precision="32-true")
    found["own"] = own.seen, {str(p.dtype) for p in own.parameters()}
    return found


class Typed(pl.LightningModule):
    """Notes the types that its layers meet."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.norm, self.out = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)
        self.seen = set()

    def training_step(self, batch, batch_idx):
        inside = self.norm(self.layer(batch))
        self.seen.add((str(batch.dtype), str(self.layer.weight.dtype), str(inside.dtype)))
        return self.out(inside).float().pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Overflow(pl.LightningModule):
    """One rank has a gradient that is not finite, in its second batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 2)
        self.moved, self.before = [], None

    def training_step(self, batch, batch_idx):
        bad = batch_idx == 1 and self.global_rank == 0
        return self.layer(batch).pow(2).mean() * (float("inf") if bad else 1.0)

    def on_train_batch_start(self, batch, batch_idx):
        self.before = whole(self)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.moved.append(whole(self) != self.before)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def test_every_precision_trains():
    b, h, f = "torch.bfloat16", "torch.float16", "torch.float32"
    for found in run_ranks(_precisions, 2, 2):
        skipped, own = found.pop("skipped"), found.pop("own")
        assert all(finite and name == "FSDPPrecision" for _, _, finite, name in found.values())
        assert skipped == ([True, False, True, True], 128.0)  # on all ranks
        assert {batch for batch, _, _ in found["bf16-mixed"][0]} == {f}
        assert found["bf16-mixed"][1] == found["16-mixed"][1] == {f}
        assert {inside for _, _, inside in found["bf16-mixed"][0]} == {b}
        assert {inside for _, _, inside in found["16-mixed"][0]} == {h}
        assert found["bf16-true"][1] == {b} and found["16-true"][1] == {h}
        assert found["32-true"][1] == own[1] == {f}


def _evaluate(world, use):
    module = Net()
    trainer = pl.Trainer(
        devices=world, strategy=FSDPStrategy(auto_wrap_policy=CLASSES), **QUIET, **IN_64_BITS
    )
    found = {}
    for count in use:
        loader = torch.utils.data.DataLoader(torch.cat(batches())[:count], batch_size=2)
        value = trainer.validate(module, loader, verbose=False)[0]["val"]
        found[count] = value, torch.cat(trainer.predict(module, loader)).tolist()
    return found


def test_evaluation_and_prediction_of_ragged_rounds():
    counts = (1, 3, 5, 8)
    expected = _evaluate_alone(counts)
    for found in run_ranks(_evaluate, 2, 2, counts):
        for count in counts:
            assert found[count][0] == pytest.approx(expected[count][0], abs=1e-12)
            torch.testing.assert_close(found[count][1], expected[count][1], rtol=0, atol=1e-12)


def _evaluate_alone(counts):
    module, found = Net(), {}
    trainer = pl.Trainer(devices=1, **QUIET, **IN_64_BITS)
    for count in counts:
        loader = torch.utils.data.DataLoader(torch.cat(batches())[:count], batch_size=2)
        value = trainer.validate(module, loader, verbose=False)[0]["val"]
        found[count] = value, torch.cat(trainer.predict(module, loader)).tolist()
    return found


def _compiled(world):
    module = Net()
    fit(torch.compile(module, backend="eager"), FSDPStrategy(), world)
    return whole(module)


def test_a_compiled_module_trains():
    module = Net()
    fit(module)
    for weights in run_ranks(_compiled, 2, 2):
        assert_close(weights, whole(module))


def _uneven(counts, accumulate):
    rank = int(os.environ["RANK"])
    module = Line()
    stream = Stream([batch_of(rank, index) for index in range(counts[rank])])
    trainer = pl.Trainer(
        devices=len(counts),
        strategy=FSDPStrategy(auto_wrap_policy={nn.Linear}),
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        **QUIET,
    )
    trainer.fit(module, torch.utils.data.DataLoader(stream, batch_size=None))
    return [weights for _, weights in sorted(whole(module).items())], module.seen


@pytest.mark.parametrize(("counts", "accumulate"), [((3, 5), 1), ((4, 1), 2)])
def test_streams_of_different_lengths_train_every_batch(counts, accumulate):
    bias, weight = oracle(counts, accumulate)[::-1]
    for rank, (found, seen) in enumerate(run_ranks(_uneven, 2, counts, accumulate, limit=30)):
        assert seen[: counts[rank]] == list(range(counts[rank]))
        torch.testing.assert_close(found, [bias, weight], rtol=0, atol=1e-12)


# --- what is refused ----------------------------------------------------------------------------

REFUSED = {
    "NO_SHARD": (lambda: FSDPStrategy(sharding_strategy="NO_SHARD"), "strategy='ddp'"),
    "no such way": (lambda: FSDPStrategy(sharding_strategy="FULL_SHRAD"), "Did you mean"),
    "no such argument": (lambda: FSDPStrategy(auto_wrap=1), "no such argument"),
    "state_dict_type": (lambda: FSDPStrategy(state_dict_type="local"), "'full' or 'sharded'"),
    "recomputed twice": (
        lambda: FSDPStrategy(
            activation_checkpointing=nn.Linear, activation_checkpointing_policy={nn.Linear}
        ),
        "Pass the second one",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_that_cannot_be_had(name):
    make, sentence = REFUSED[name]
    with pytest.raises((ValueError, TypeError, MisconfigurationException), match=sentence):
        make()


class Second(Net):
    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters())


def _refused():
    found = []
    for module, options, kwargs in (
        (Net(), {"cpu_offload": True}, {}),
        (Second(), {}, {}),
        (Net(), {}, {"precision": "16-mixed"}),
        (Net(), {"device_mesh": (1, 2), "sharding_strategy": "HYBRID_SHARD"}, {}),
        (Net(), {"device_mesh": (1, 1)}, {}),
        (Net(), {"auto_wrap_policy": 3}, {}),
        (NoReset(), {}, {}),
    ):
        with pytest.raises(MisconfigurationException) as caught:
            fit(module, FSDPStrategy(**options), **kwargs)
        found.append(str(caught.value))
    return found


class NoReset(Tied):
    def __init__(self):
        super().__init__()
        self.more = nn.ParameterDict({"a": nn.Parameter(torch.empty(2, device="meta"))})


def test_what_cannot_be_divided_is_refused_before_it_trains():
    sentences = [
        "on the CPU, where its parameters are already",
        "LBFGS",
        "gradient scaler",
        "1 x 2 = 2 processes are asked for, and this run has 1",
        "HYBRID_SHARD",
        "`auto_wrap_policy=3`",
        "no `reset_parameters",
    ]
    for text, sentence in zip(run_ranks(_refused, 1)[0], sentences, strict=True):
        assert sentence in text


def test_names_of_today_and_of_1x():
    for name in ("fsdp", "fsdp_native", "fsdp_cpu_offload", "fsdp_native_full_shard_offload"):
        made = StrategyRegistry.get(name)
        assert type(made) is FSDPStrategy and bool(made.cpu_offload) is ("offload" in name)


def test_arguments_without_an_effect_are_said_once():
    with pytest.warns(UserWarning, match="use_orig_params=False.*no effect"):
        FSDPStrategy(use_orig_params=False)
    FSDPStrategy(use_orig_params=True, sync_module_states=True)


def test_the_precision_says_its_types():
    types = FSDPPrecision("bf16-mixed").mixed_precision_config
    assert (types.param_dtype, types.reduce_dtype) == (torch.bfloat16, torch.float32)
    assert FSDPPrecision("16-true").mixed_precision_config.reduce_dtype == torch.float16
    assert FSDPPrecision("16-mixed").scaler.is_enabled()
    with pytest.raises(ValueError, match="FSDPPrecision knows"):
        FSDPPrecision("64-true")
    with pytest.raises(MisconfigurationException, match="needs none"):
        FSDPPrecision("bf16-mixed", scaler=torch.amp.GradScaler("cpu"))
