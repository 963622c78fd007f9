"""What DDP trains equals what one process trains on all the data."""

import os

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn

import pytorch_lightning as pl
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
        **{"max_epochs": 2, **options},
        accelerator="cpu",
        devices=world,
        strategy=strategy,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def train(kind, world=1):
    make, options, ddp = KINDS[kind]
    module, trainer = make(), trainer_of(world, options, ddp)
    trainer.fit(module, batches(trainer.global_rank, world))
    return {name: value.tolist() for name, value in module.state_dict().items()}


def flat(weights):
    return torch.cat([torch.tensor(v, dtype=torch.float64).flatten() for v in weights.values()])


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_one_process_on_all_the_data(kind):
    expected = train(kind)
    first, second = run_ranks(train, 2, kind, 2)
    assert first == second
    assert list(first) == list(expected)
    torch.testing.assert_close(flat(first), flat(expected), rtol=0, atol=1e-12)


def test_three_ranks():
    expected = train("adam and a scheduler")
    found = run_ranks(train, 3, "adam and a scheduler", 3)
    assert found[0] == found[1] == found[2]
    torch.testing.assert_close(flat(found[0]), flat(expected), rtol=0, atol=1e-12)
