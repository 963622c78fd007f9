"""`NonFinite` on several ranks: one decision, whatever only one of them has seen."""

import math

import pytest
import torch
from tests.callbacks.test_non_finite import Net, spoiled, trained
from tests.distributed.ranks import run_ranks

from pytorch_lightning.callbacks import ModelCheckpoint, NonFinite
from pytorch_lightning.utilities.exceptions import NonFiniteError

pytestmark = pytest.mark.faults

KINDS = ("loss NaN", "gradient infinite", "loss NaN, gradients finite")


class OnOneRank(Net):
    """The bad batches are bad on rank 1 alone."""

    def training_step(self, batch, batch_idx):
        place = (self.current_epoch, batch_idx)
        if place in self.absent:
            return None
        loss = self.layers(batch).square().mean()
        self.trained.append(place)
        if place in self.bad and self.global_rank == 1:
            loss = spoiled(loss, self.kind)
        return loss

    def on_train_end(self):
        whole = {n: getattr(p, "full_tensor", p.detach)() for n, p in self.named_parameters()}
        self.learned = {name: value.tolist() for name, value in whole.items()}


def weights(trainer):
    return trainer.lightning_module.learned


def _skipped(strategy):
    found = {}
    for make in ("adam", "fused adam"):
        absent = OnOneRank(make, absent={(0, 5)})
        never = weights(trained(absent, devices=2, strategy=strategy))
        for kind in KINDS:
            careful, module = NonFinite("skip"), OnOneRank(make, {(0, 5)}, kind)
            trainer = trained(module, [careful], devices=2, strategy=strategy)
            found[make, kind] = careful.skipped, weights(trainer) == never, weights(trainer)
    return found


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_all_ranks_leave_out_the_same_step(strategy, tally):
    tally("bad number on one rank", 2 * len(KINDS))
    one, other = run_ranks(_skipped, 2, strategy)
    assert one == other
    assert len(one) == 2 * len(KINDS)
    for skipped, equal, _ in one.values():
        assert (skipped, equal) == (1, True)


def _shard_infinite():
    """A gradient that is infinite in the part of one rank alone."""

    class Shard(OnOneRank):
        def on_after_backward(self):
            if self.trainer.global_step == 3 and self.global_rank == 1:
                self.layers[0].weight.grad.to_local().fill_(math.inf)

    careful = NonFinite("skip")
    trainer = trained(Shard(), [careful], devices=2, strategy="fsdp")
    return careful.skipped, weights(trainer)


def test_an_infinite_part_of_a_gradient_is_that_of_all(tally):
    tally("bad number on one rank")
    one, other = run_ranks(_shard_infinite, 2)
    assert one == other
    assert one[0] == 1
    assert all(math.isfinite(value) for row in one[1]["layers.0.weight"] for value in row)


def _raised():
    found = {}
    for kind in KINDS:
        try:
            module = OnOneRank(bad={(0, 5)}, kind=kind)
            trained(module, [NonFinite(check_every_n_steps=4)], devices=2, strategy="ddp")
        except NonFiniteError as error:
            found[kind] = str(error), error.batch, len(module.trained)
    return found


def test_all_ranks_raise_after_the_same_batch_and_name_the_rank(tally):
    tally("bad number on one rank", len(KINDS))
    one, other = run_ranks(_raised, 2)
    assert one == other
    assert [entry[1:] for entry in one.values()] == [(5, 8)] * len(KINDS)
    assert "The loss was not finite on rank 1 in batch 5 of epoch 0" in one["loss NaN"][0]
    text = one["gradient infinite"][0]  # an average has it on both
    assert "The norm of the gradients was not finite on rank 0 in batch 5" in text


def _went_back(folder):
    torch.manual_seed(2)
    saver = ModelCheckpoint(folder, every_n_train_steps=3, save_top_k=-1)
    careful, module = NonFinite("rollback"), OnOneRank(bad={(1, 4)}, dropout=0.5)
    trainer = trained(module, [careful, saver], max_epochs=2, devices=2, strategy="ddp")
    return careful.rollbacks, careful.avoided, module.trained, weights(trainer)


def _never(folder):
    torch.manual_seed(2)

    class Without(OnOneRank):
        def on_train_start(self):
            self.trainer._run.avoided = {(1, 4)}

    saver = ModelCheckpoint(folder, every_n_train_steps=3, save_top_k=-1)
    module = Without(dropout=0.5)
    return weights(trained(module, [saver], max_epochs=2, devices=2, strategy="ddp"))


def test_all_ranks_go_back_together(tmp_path, tally):
    tally("rollback")
    one, other = run_ranks(_went_back, 2, tmp_path / "bad")
    assert one == other
    assert one[:2] == (1, {(1, 4)})
    first = [(0, batch) for batch in range(8)]
    second = [(1, batch) for batch in (0, 1, 2, 3, 4, 5, 6, 5, 6, 7)]
    assert one[2] == [*first, *second]
    assert one[3] == run_ranks(_never, 2, tmp_path / "good")[0]


class Rows(torch.utils.data.IterableDataset):
    """A stream with a state, which is three batches longer on rank 1."""

    def __init__(self):
        self.next = 0

    def __iter__(self):
        end = 3 + 3 * torch.distributed.get_rank()
        while self.next < end:
            self.next += 1
            yield torch.full((4,), self.next / 8)
        self.next = 0

    def state_dict(self):
        return {"next": self.next}

    def load_state_dict(self, state):
        self.next = state["next"]


def _went_back_alone(folder):
    data = torch.utils.data.DataLoader(Rows(), batch_size=1)
    saver = ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1)
    careful, module = NonFinite("rollback", check_every_n_steps=1), OnOneRank(bad={(0, 4)})
    trainer = trained(module, [careful, saver], data, devices=2, strategy="ddp")
    return careful.avoided, trainer.global_step, module.trained, weights(trainer)


def test_a_rank_whose_data_ended_avoids_the_batch_of_another(tmp_path, tally):
    tally("rollback")
    ended, other = run_ranks(_went_back_alone, 2, tmp_path)
    assert (ended[:2], ended[3]) == (other[:2], other[3])
    assert other[:2] == ({(0, 4)}, 5)
    assert ended[2] == [(0, batch) for batch in range(3)]
    assert other[2] == [(0, batch) for batch in range(6)]
