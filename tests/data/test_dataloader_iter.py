"""Steps that take `dataloader_iter` and pull their batches themselves."""

import pytest
import torch
from tests.trainer.watched import Endless, Watched, numbers, quiet

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Pulls(Watched):
    """Takes `several` batches in each step."""

    several = 1

    def pull(self, event, dataloader_iter):
        sums = []
        for _ in range(self.several):
            batch, batch_idx, dataloader_idx = next(dataloader_iter)
            self.note(event, batch_idx, dataloader_idx, batch[0, 0].item())
            sums.append(batch)
        return torch.cat(sums)

    def training_step(self, dataloader_iter):
        batch = self.pull("train", dataloader_iter)
        self.log("train_mean", batch.mean(), on_step=False, on_epoch=True)
        return self(batch).mean()

    def validation_step(self, dataloader_iter):
        self.log("val_mean", self.pull("val", dataloader_iter).mean())

    def test_step(self, dataloader_iter):
        self.log("test_mean", self.pull("test", dataloader_iter).mean())

    def predict_step(self, dataloader_iter):
        return self.pull("predict", dataloader_iter)[:, 0]


def of(module, event):
    return [entry[1:] for entry in module.seen if entry[0] == event]


@pytest.mark.parametrize("loader", [numbers(6), Endless(3)], ids=["sized", "unsized"])
def test_training(loader):
    module, trainer = Pulls(), quiet(max_epochs=2)
    trainer.fit(module, loader)
    assert [entry[:2] for entry in of(module, "train")] == [(0, 0), (1, 0), (2, 0)] * 2
    assert (trainer.global_step, trainer.current_epoch) == (6, 2)
    assert trainer.fit_loop.total_batch_idx == 5


def test_training_gives_the_weights_of_a_step_with_batches():
    class Plain(Watched):
        def training_step(self, batch, batch_idx):
            return self(batch).mean()

    weights = []
    for kind in (Pulls, Plain):
        torch.manual_seed(1)
        module = kind()
        quiet(accumulate_grad_batches=2, limit_train_batches=5).fit(module, numbers(20))
        weights.append(torch.cat([p.detach().flatten() for p in module.parameters()]))
    assert torch.equal(*weights)


def test_evaluation_and_prediction():
    module, trainer = Pulls(), quiet()
    assert trainer.validate(module, numbers(4), verbose=False) == [{"val_mean": 1.5}]
    assert trainer.test(module, [numbers(4), numbers(2, start=8)], verbose=False) == [
        {"test_mean/dataloader_idx_0": 1.5},
        {"test_mean/dataloader_idx_1": 8.5},
    ]
    assert of(module, "test") == [(0, 0, 0.0), (1, 0, 2.0), (0, 1, 8.0)]
    assert [b.tolist() for b in trainer.predict(module, numbers(4))] == [[0, 1], [2, 3]]


def test_validation_inside_fit():
    module = Pulls()
    quiet(max_epochs=2, num_sanity_val_steps=1, val_check_interval=2).fit(
        module, numbers(8), numbers(4)
    )
    assert [e[0] for e in module.seen] == [
        "val",
        *(["train"] * 2 + ["val"] * 2) * 4,
    ]


def test_hooks_see_the_batch_and_its_index():
    class Hooks(Pulls):
        def on_train_batch_start(self, batch, batch_idx):
            self.note("start", batch_idx, batch[0, 0].item())

        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.note("end", batch_idx, batch[0, 0].item())

        def on_validation_batch_end(self, outputs, batch, batch_idx, dataloader_idx=0):
            self.note("val end", batch_idx, batch[0, 0].item())

    module = Hooks()
    quiet().fit(module, numbers(4), numbers(4))
    assert of(module, "start") == of(module, "end") == of(module, "val end") == [(0, 0), (1, 2)]


def test_nothing_touches_the_batches():
    class Untouched(Pulls):
        def on_before_batch_transfer(self, batch, dataloader_idx):
            raise AssertionError("transferred")

        transfer_batch_to_device = on_after_batch_transfer = on_before_batch_transfer

        def training_step(self, dataloader_iter):
            batch, *_ = next(dataloader_iter)
            self.note("type", batch.dtype)
            return self(batch.double()).mean()

    module, trainer = Untouched(), quiet(precision="64-true")
    trainer.fit(module, numbers(4))
    assert of(module, "type") == [(torch.float32,)] * 2


def test_only_the_stage_that_pulls_is_left_alone():
    class Mixed(Pulls):
        def validation_step(self, batch, batch_idx):
            self.note("val", batch.dtype)

    module = Mixed()
    quiet(precision="64-true", limit_train_batches=0, num_sanity_val_steps=1).fit(
        module, numbers(4), numbers(2)
    )
    assert of(module, "val") == [(torch.float64,)]


def test_a_step_may_take_several_batches():
    class Two(Pulls):
        several = 2

        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.note("end", batch_idx)

        def on_validation_batch_end(self, outputs, batch, batch_idx, dataloader_idx=0):
            self.note("val end", batch_idx)

    module, trainer = Two(), quiet(max_epochs=2)
    trainer.fit(module, numbers(8), numbers(8))
    assert [entry[0] for entry in of(module, "train")] == [0, 1, 2, 3] * 2
    assert of(module, "end") == of(module, "val end") == [(1,), (3,)] * 2
    assert trainer.global_step == 4
    assert trainer.fit_loop.total_batch_idx == 7
    found = quiet().predict(module, numbers(8))
    assert [batch.tolist() for batch in found] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_asking_for_more_than_there_is_ends_the_epoch():
    class Two(Pulls):
        several = 2

    module, trainer = Two(), quiet(max_epochs=2)
    trainer.fit(module, numbers(6), numbers(6))
    assert [entry[0] for entry in of(module, "train")] == [0, 1, 2] * 2
    assert (trainer.global_step, trainer.current_epoch) == (2, 2)
    assert trainer.interrupted is False
    assert quiet().test(module, numbers(6), verbose=False) == [{"test_mean": 1.5}]


def test_means_are_weighted_by_what_was_pulled(tmp_path):
    module = Pulls()
    trainer = quiet(logger=CSVLogger(tmp_path))
    trainer.fit(module, numbers(5))  # batches of 2, 2 and 1
    assert trainer.callback_metrics["train_mean"] == pytest.approx(2.0)


def test_closures_that_run_again_pull_the_same_batch():
    class Search(Pulls):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters(), max_iter=3)

        def training_step(self, dataloader_iter):
            return self(self.pull("train", dataloader_iter)).square().mean()

    module = Search()
    quiet(limit_train_batches=1).fit(module, numbers(4))
    assert len(of(module, "train")) > 1
    assert set(of(module, "train")) == {(0, 0, 0.0)}


def test_manual_optimization():
    class Manual(Pulls):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, dataloader_iter):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self(self.pull("train", dataloader_iter)).mean())
            optimizer.step()

    module, trainer = Manual(), quiet()
    trainer.fit(module, numbers(6))
    assert (len(of(module, "train")), trainer.global_step) == (3, 3)


def test_resume_in_mid_epoch(tmp_path):
    class Saves(Pulls):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if batch_idx == 1:
                self.trainer.save_checkpoint(tmp_path / "a.ckpt")

    quiet().fit(Saves(), numbers(8))
    module, trainer = Pulls(), quiet()
    trainer.fit(module, numbers(8), ckpt_path=tmp_path / "a.ckpt")
    assert of(module, "train") == [(2, 0, 4.0), (3, 0, 6.0)]


def test_the_spelling_of_1_x_says_what_to_write():
    class Old(Watched):
        def training_step(self, dataloader_iter, batch_idx):
            raise AssertionError("called")

    with pytest.raises(MisconfigurationException, match=r"write `training_step\(self, dataloader_"):
        quiet().fit(Old(), numbers(4))


def test_a_step_that_pulls_nothing_is_refused():
    class Idle(Pulls):
        def training_step(self, dataloader_iter):
            return self.layer.weight.sum()

    with pytest.raises(MisconfigurationException, match="took no batch"):
        quiet().fit(Idle(), numbers(4))


def test_several_batches_and_accumulation_are_refused_together():
    class Two(Pulls):
        several = 2

    with pytest.raises(MisconfigurationException, match="accumulate_grad_batches=2"):
        quiet(accumulate_grad_batches=2).fit(Two(), numbers(8))
