"""Twelve ragged sequences, trained as `(loss_sum, weight)`, and the oracle of one big batch."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import pytorch_lightning as pl

LENGTHS = (3, 1, 7, 2, 5, 4, 1, 9, 2, 6, 3, 8)
CLIP = 0.5


def sequence(index, step=0):
    generator = torch.Generator().manual_seed(1000 * step + index)
    return torch.randn(LENGTHS[index], 4, generator=generator, dtype=torch.float64)


class Sequences(Dataset):
    """`steps` times the twelve sequences, in the order in which ranks and batches take them."""

    def __init__(self, order, steps):
        self.order = [(step, index) for step in range(steps) for index in order]

    def __len__(self):
        return len(self.order)

    def __getitem__(self, position):
        step, index = self.order[position]
        return sequence(index, step)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()


class Tokens(pl.LightningModule):
    """The loss is a mean over all tokens of a step.

    Args:
        spelling: How `training_step` returns it: 'pair', 'tensor' or 'dict'.
    """

    def __init__(self, spelling="pair", optimizer=torch.optim.SGD, lr=0.1):
        super().__init__()
        self.layers = network()
        self.spelling, self.optimizer, self.lr = spelling, optimizer, lr
        self.outputs = []

    def training_step(self, batch, batch_idx):
        losses = [self.layers(tokens).pow(2).sum() for tokens in batch]
        loss_sum, count = torch.stack(losses).sum(), sum(len(tokens) for tokens in batch)
        if self.spelling == "dict":
            return {"loss_sum": loss_sum, "weight": count, "more": batch_idx}
        return loss_sum, torch.tensor(count) if self.spelling == "tensor" else count

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.outputs.append(outputs)

    def configure_optimizers(self):
        return self.optimizer(self.parameters(), lr=self.lr)


def weights_of(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


def one_big_batch(steps, optimizer=torch.optim.SGD, lr=0.1, clip=CLIP):
    layers = network()
    stepper = optimizer(layers.parameters(), lr=lr)
    for step in range(steps):
        loss = sum(layers(sequence(i, step)).pow(2).sum() for i in range(12)) / sum(LENGTHS)
        stepper.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(layers.parameters(), clip)
        stepper.step()
    return [parameter.detach() for parameter in layers.parameters()]


def train(module, order, pieces, steps, *, clip=CLIP, **options):
    """Fit on the sequences of one rank, cut into `pieces` batches per optimizer step."""
    loader = DataLoader(Sequences(order, steps), batch_size=len(order) // pieces, collate_fn=list)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=pieces,
        gradient_clip_val=clip,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,
    )
    trainer.fit(module, loader)
    return trainer
