"""What DDP trains equals what one process trains on all the data."""

import os
import warnings
from collections import Counter

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn

import pytorch_lightning as pl
from pytorch_lightning.fabric import Fabric
from pytorch_lightning.strategies import DDPStrategy

ROWS, STEPS = 12, 6


def batches(rank=0, world=1):
    """The same batches for any number of ranks: each takes its share of the rows."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(STEPS, ROWS, 4, dtype=torch.float64, generator=generator)
    return [batch[rank::world] for batch in data]


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1 + int(os.environ.get("RANK", "0")))  # rank 0's weights count
        layers = [nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)]
        self.net = nn.Sequential(*layers).double()

    def forward(self, batch):
        return self.net(batch)

    def training_step(self, batch, batch_idx):
        return self(batch).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class Adam(Net):
    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


class Plateau(Net):
    def training_step(self, batch, batch_idx):
        self.log("always", 1.0)
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": plateau, "monitor": "always"},
        }


class Lbfgs(Net):
    """Its steps depend on the loss itself, and its closure runs several times."""

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), max_iter=5, line_search_fn="strong_wolfe")


class Frozen(Net):
    def __init__(self):
        super().__init__()
        self.net[0].requires_grad_(False)


class Several(Net):
    """Two optimizers in turn, as in 1.x."""

    def training_step(self, batch, batch_idx, optimizer_idx):
        return (self(batch) - optimizer_idx).pow(2).mean()

    def configure_optimizers(self):
        first, _, last = self.net
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (first, last)], []


class OwnArguments(Net):
    """Returns a dictionary with an output that backward never reaches, and takes it from a dict."""

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(4, 2).double()

    def training_step(self, batch):
        return {"loss": super().training_step(batch, 0), "extra": self.other(batch)}


class Manual(Net):
    """A generator and a discriminator; several backward passes for each batch."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.judge = nn.Linear(3, 1).double()

    def training_step(self, batch, batch_idx):
        generator, judge = self.optimizers()
        self.toggle_optimizer(generator)
        generator.zero_grad()
        self.manual_backward(self.judge(self(batch)).pow(2).mean())
        self.manual_backward(self(batch).mean())
        generator.step()
        self.untoggle_optimizer(generator)
        judge.zero_grad()
        self.manual_backward((self.judge(self(batch).detach()) - 1).pow(2).mean())
        judge.step()

    def configure_optimizers(self):
        own = [self.net.parameters(), self.judge.parameters()]
        return [torch.optim.SGD(parameters, lr=0.1) for parameters in own], []


class ManualOnce(Net):
    """One backward that reaches everything; the gradient of two batches for one step."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        if batch_idx % 2 == 0:
            with self.trainer.strategy.block_backward_sync():
                self.manual_backward(self(batch).pow(2).mean())
            return
        self.manual_backward(self(batch).pow(2).mean())
        optimizer.step()
        optimizer.zero_grad()


class Noisy(Net):
    """Draws random numbers: alike on all ranks, since all have the same seed here."""

    def training_step(self, batch, batch_idx):
        torch.manual_seed(batch_idx)
        noise = torch.rand(5, dtype=torch.float64)
        hidden = torch.tanh(self.net[0](batch)) * noise
        return self.net[2](hidden).pow(2).mean()


class Unfreezing(Net):
    """Half of it is trained from the second epoch on, the other half no longer."""

    def __init__(self):
        super().__init__()
        self.net[0].requires_grad_(False)

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.net[0].requires_grad_(True)
            self.net[2].requires_grad_(False)


class Sparse(Net):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 4, sparse=True).double()

    def training_step(self, batch, batch_idx):
        rows = self.table((batch.abs() * 2).long().clamp(max=3)[:, 0])
        return (self(rows) * batch[:, :3]).sum(1).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


UNUSED = {"find_unused_parameters": True}
KINDS = {
    "sgd": (Net, {}, {}),
    "adam and a scheduler": (Adam, {}, {}),
    "plateau": (Plateau, {}, {}),
    "accumulation": (Net, {"accumulate_grad_batches": 2}, {}),
    "clipping of the norm": (Net, {"gradient_clip_val": 0.1}, {}),
    "clipping of values": (
        Net,
        {
            "gradient_clip_val": 0.01,
            "gradient_clip_algorithm": "value",
            "accumulate_grad_batches": 3,
        },
        {},
    ),
    "lbfgs": (Lbfgs, {}, {}),
    "frozen": (Frozen, {}, {}),
    "frozen and unfrozen": (Unfreezing, {}, {}),
    "several optimizers": (Several, {}, {}),
    "several optimizers, accumulated": (Several, {"accumulate_grad_batches": 2}, {}),
    "unused parameters": (OwnArguments, {}, UNUSED),
    "manual": (Manual, {}, UNUSED),
    "manual, accumulated": (ManualOnce, {}, {}),
    "manual, static graph": (ManualOnce, {}, {"static_graph": True}),
    "random numbers": (Noisy, {}, {}),
    "sparse gradients": (Sparse, {}, {}),
    "static graph": (Net, {"accumulate_grad_batches": 2}, {"static_graph": True}),
    "views of buckets": (Adam, {"accumulate_grad_batches": 2}, {"gradient_as_bucket_view": True}),
    "64-true": (Net, {"precision": "64-true"}, {}),
}


def trainer_of(world, options, ddp):
    strategy = DDPStrategy(**ddp) if world > 1 else "auto"
    return pl.Trainer(
        **{"max_epochs": 2, "enable_checkpointing": False, **options},
        accelerator="cpu",
        devices=world,
        strategy=strategy,
        use_distributed_sampler=False,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def train(kind, world=1):
    make, options, ddp = KINDS[kind]
    module, trainer = make(), trainer_of(world, options, ddp)
    trainer.fit(module, batches(trainer.global_rank, world))
    return {name: value.tolist() for name, value in module.state_dict().items()}


def train_all(world):
    """Every kind in turn, in the same processes: the group outlives a run, its wrapper does not."""
    return {kind: train(kind, world) for kind in KINDS}


@pytest.fixture(scope="module")
def of_two_ranks():
    return run_ranks(train_all, 2, 2, limit=120)


def flat(weights):
    return torch.cat([torch.tensor(v, dtype=torch.float64).flatten() for v in weights.values()])


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_one_process_on_all_the_data(kind, of_two_ranks):
    expected = train(kind)
    first, second = (found[kind] for found in of_two_ranks)
    assert first == second
    assert list(first) == list(expected)
    torch.testing.assert_close(flat(first), flat(expected), rtol=0, atol=1e-12)


def test_three_ranks():
    expected = train("adam and a scheduler")
    found = run_ranks(train, 3, "adam and a scheduler", 3)
    assert found[0] == found[1] == found[2]
    torch.testing.assert_close(flat(found[0]), flat(expected), rtol=0, atol=1e-12)


# --- what torch does by hand --------------------------------------------------------------------


class Normed(Net):
    """Batch norm looks at the rows of its rank; its statistics are those of rank 0 in each step."""

    def __init__(self):
        super().__init__()
        self.net.append(nn.BatchNorm1d(3).double())


class Single(Net):
    """Float32, for the precisions."""

    def __init__(self):
        super().__init__()
        self.float()

    def training_step(self, batch, batch_idx):
        return super().training_step(batch.float(), batch_idx)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


BY_HAND = {
    "batch norm": (Normed, {}, None),
    "bf16-mixed": (Single, {"precision": "bf16-mixed"}, torch.bfloat16),
    "16-mixed": (Single, {"precision": "16-mixed"}, torch.float16),
}


class Counting(pl.Callback):
    """Counts the collectives of all batches but the first, as a profiler sees them."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 1:
            self.profile = torch.profiler.profile(
                activities=[torch.profiler.ProfilerActivity.CPU]
            ).__enter__()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx == STEPS - 1:
            self.profile.__exit__(None, None, None)
            names = [event.name for event in self.profile.events()]
            self.found = Counter(name for name in names if name.startswith(("c10d::", "gloo:")))


def both_ways(world):
    """Trained by fit and by hand: weights, and the collectives of each."""
    found = {}
    for kind, (make, options, dtype) in BY_HAND.items():
        trainer = trainer_of(world, {"max_epochs": 1, **options}, {})
        trainer.callbacks.append(of_fit := Counting())
        ours, theirs = make(), make()
        rank = trainer.global_rank
        theirs.load_state_dict(ours.state_dict())
        trainer.fit(ours, batches(rank, world))
        of_hand = by_hand(theirs, batches(rank, world), dtype)
        weights = [{k: v.tolist() for k, v in m.state_dict().items()} for m in (ours, theirs)]
        found[kind] = (*weights, of_fit.found, of_hand)
    return found


def by_hand(module, data, dtype):
    wrapper = nn.parallel.DistributedDataParallel(module)
    optimizer = module.configure_optimizers()
    scaler = torch.amp.GradScaler("cpu", enabled=dtype is torch.float16)
    counting = Counting()
    for index, batch in enumerate(data):
        counting.on_train_batch_start(None, module, batch, index)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            output = wrapper(batch if dtype is None else batch.float())
            loss = output.pow(2).mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        counting.on_train_batch_end(None, module, loss, batch, index)
    return counting.found


@pytest.fixture(scope="module")
def fit_and_hand():
    return run_ranks(both_ways, 2, 2, limit=60)


@pytest.mark.parametrize("kind", BY_HAND)
def test_a_run_gives_the_weights_and_buffers_of_the_loop_by_hand(kind, fit_and_hand):
    for ours, theirs, _, _ in (of_rank[kind] for of_rank in fit_and_hand):
        assert ours == theirs
    first, second = (of_rank[kind][0] for of_rank in fit_and_hand)
    learned = [name for name in first if "running" not in name]
    assert [first[name] for name in learned] == [second[name] for name in learned]


@pytest.mark.parametrize("kind", BY_HAND)
def test_a_step_has_the_collectives_of_the_loop_by_hand(kind, fit_and_hand):
    for of_rank in fit_and_hand:
        _, _, ours, theirs = of_rank[kind]
        in_each_step = {name: number for name, number in ours.items() if number > 1}
        assert in_each_step == theirs
        assert ours["gloo:all_reduce"] == STEPS - 1


# --- what surrounds it --------------------------------------------------------------------------


class Watching(Net):
    """Notes what it is in, and in which order its hooks are called."""

    def __init__(self):
        super().__init__()
        self.calls, self.seen = [], {}
        self.register_forward_hook(lambda *_: self.calls.append("forward hook"))

    def training_step(self, batch, batch_idx):
        self.seen["in fit"] = type(self.trainer.model).__name__
        self.seen["inside"] = getattr(self.trainer.model, "module", None) is self
        self.seen["strategy"] = self.trainer.strategy.model is self.trainer.model
        self.seen["bare"] = self.trainer.strategy.lightning_module is self
        self.calls.append("step")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.calls.append("validation")

    def test_step(self, batch, batch_idx):
        self.seen["test"] = type(self.trainer.model).__name__


def life(world, folder):
    trainer = trainer_of(world, {"max_epochs": 1, "enable_checkpointing": True}, {})
    trainer.callbacks[-1].dirpath = folder
    module = Watching()
    data = batches(trainer.global_rank, world)
    trainer.fit(module, data, data[:1])
    seen = module.seen
    seen["after fit"] = trainer.model is module and trainer.strategy.model is module
    seen["hooks"] = module.calls[-5:]
    trainer.test(module, data[:1], verbose=False)
    seen["group"] = torch.distributed.is_initialized()
    return seen, {k: v.tolist() for k, v in module.state_dict().items()}


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("saved"))
    return folder, run_ranks(life, 2, 2, folder)


def test_the_wrapper_is_there_in_fit_alone_and_steps_are_no_forward(lives):
    for seen, _ in lives[1]:
        assert seen["in fit"] == "DistributedDataParallel"
        assert seen["inside"] and seen["strategy"] and seen["bare"] and seen["after fit"]
        assert seen["test"] == "Watching"
        assert seen["hooks"] == ["step", "forward hook", "step", "forward hook", "validation"]
        assert seen["group"]


def test_a_checkpoint_knows_no_wrapper_and_loads_in_one_process(lives):
    folder, [(_, weights), _] = lives
    (path,) = [os.path.join(folder, name) for name in os.listdir(folder)]
    found = torch.load(path, weights_only=True)["state_dict"]
    assert {name: value.tolist() for name, value in found.items()} == weights
    alone = trainer_of(1, {"max_epochs": 2}, {})
    alone.fit(Watching(), batches(), batches(), ckpt_path=path)
    assert alone.current_epoch == 2


def resume(path, world):
    trainer = trainer_of(world, {"max_epochs": 2}, {})
    module = Adam()
    trainer.fit(module, batches(trainer.global_rank, world), ckpt_path=path)
    return flat({name: value.tolist() for name, value in module.state_dict().items()}).tolist()


def test_a_checkpoint_of_one_process_goes_on_in_two(tmp_path):
    alone = trainer_of(1, {"max_epochs": 1}, {})
    alone.fit(Adam(), batches())
    alone.save_checkpoint(tmp_path / "one.ckpt")
    first, second = run_ranks(resume, 2, str(tmp_path / "one.ckpt"), 2)
    expected = flat(train("adam and a scheduler"))
    assert first == second
    found = torch.tensor(first, dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


class Growing(Net):
    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.late = nn.Linear(3, 3).double()


class Untrained(Net):
    """Nothing is trained by autograd."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.requires_grad_(False)

    def training_step(self, batch, batch_idx):
        self.net[0].bias.add_(1)

    def configure_optimizers(self):
        return None


class Forgetful(Net):
    def training_step(self, batch, batch_idx):
        return self.net[0](batch).mean()


class ByItself(ManualOnce):
    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self(batch).pow(2).mean().backward()
        optimizer.step()


def messages(world):
    found = {}
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        for make in (ManualOnce, ByItself):
            given.clear()
            trainer = trainer_of(world, {}, {})
            trainer.fit(make(), batches(trainer.global_rank, world))
            found[make.__name__] = [str(w.message) for w in given if "manual" in str(w.message)]
    for name, make, options in (
        ("unused", Forgetful, {}),
        ("unused in the last step", Forgetful, {"max_steps": 1}),
        ("late", Growing, {}),
        ("synchronized", Normed, {"sync_batchnorm": True}),
    ):
        trainer = trainer_of(world, options, {})
        module = make()
        try:
            trainer.fit(module, batches(trainer.global_rank, world))
        except Exception as error:
            found[name] = str(error)
    trainer, module = trainer_of(world, {}, {}), Untrained()
    trainer.fit(module, batches(trainer.global_rank, world))
    found["untrained"] = type(trainer.strategy.model).__name__
    found["forward"] = "_compiled_call_impl" in module.__dict__
    return found


def test_what_cannot_be_right_is_a_sentence_and_the_next_run_is_well():
    for rank, found in enumerate(run_ranks(messages, 2, 2)):
        assert found["ManualOnce"] == []
        assert ["self.manual_backward(loss)" in text for text in found["ByItself"]] == [
            True for _ in range(1 - rank)
        ]
        for name in ("unused", "unused in the last step"):
            assert "'net.2.weight', 'net.2.bias'" in found[name]
            assert "ddp_find_unused_parameters_true" in found[name]
        assert "'late.weight'" in found["late"] and "configure_model" in found["late"]
        assert "sync_batchnorm" in found["synchronized"] and "GPU" in found["synchronized"]
        assert (found["untrained"], found["forward"]) == ("Untrained", False)


# --- by the verbs of Fabric ---------------------------------------------------------------------


class Step(nn.Module):
    """Called by `forward`, or by another method that is told to be like it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1 + int(os.environ.get("RANK", "0")))
        self.net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)).double()

    def forward(self, batch):
        return self.net(batch).pow(2).mean()

    def other(self, batch, *, shift):
        return {"loss": (self.net(batch) + shift).pow(2).mean()}


def by_fabric(world):
    fabric = Fabric(accelerator="cpu", devices=world, strategy="ddp" if world > 1 else "auto")
    fabric.launch()
    module = Step()
    module, optimizer = fabric.setup(module, torch.optim.SGD(module.parameters(), lr=0.1))
    module.mark_forward_method("other")
    for index, batch in enumerate(batches(fabric.global_rank, world)):
        with fabric.no_backward_sync(module, enabled=index % 2 == 0):
            fabric.backward(module(batch))
        fabric.backward(module.other(batch, shift=1.0)["loss"])
        if index % 2:
            optimizer.step()
            optimizer.zero_grad()
    with torch.no_grad():
        if fabric.global_rank == 0:
            module.other(batch, shift=0.0)  # nobody else comes, and nobody has to
    return flat({name: value.tolist() for name, value in module.state_dict().items()}).tolist()


def test_fabric_exchanges_gradients_of_any_marked_method():
    first, second = run_ranks(by_fabric, 2, 2)
    assert first == second
    torch.testing.assert_close(first, by_fabric(1), rtol=0, atol=1e-12)


class Compiled(Net):
    """Its steps run compiled, and log."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("loss", loss)
        return loss


def compiled(world):
    module = Compiled()
    trainer = trainer_of(world, {"max_epochs": 1}, {})
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    trainer.fit(torch.compile(module, backend=backend), batches(trainer.global_rank, world))
    weights = {name: value.tolist() for name, value in module.state_dict().items()}
    return flat(weights).tolist(), len(graphs)


def test_compiled_steps_exchange_gradients_too():
    (first, graphs), (second, _) = run_ranks(compiled, 2, 2)
    assert first == second and 0 < graphs < STEPS
    torch.testing.assert_close(first, compiled(1)[0], rtol=0, atol=1e-12)


class Evaluated(Net):
    def validation_step(self, batch, batch_idx):
        self.inference = torch.is_inference_mode_enabled()
        self.log("loss", self(batch).pow(2).mean(), sync_dist=True)


def evaluated(world):
    trainer, module = trainer_of(world, {}, {}), Evaluated()
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    (found,) = trainer.validate(module, batches(trainer.global_rank, world), verbose=False)
    return module.inference, found["loss"]


def test_gloo_needs_no_exception_from_inference_mode():
    (inference, first), (_, second) = run_ranks(evaluated, 2, 2)
    assert inference and first == second
    assert first == pytest.approx(evaluated(1)[1], abs=1e-12)
