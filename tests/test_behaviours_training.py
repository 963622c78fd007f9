"""What users count on while a module is trained: steps, gradients, schedulers, modes, data."""

import os

import pytest
import torch
from tests.small_runs import Memory, Small, loader, rows, trainer
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, SequentialSampler, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint


class Recorder(Small):
    """Keeps what its steps and hooks see."""

    def __init__(self):
        super().__init__()
        self.seen = []


def sgd(module, lr=0.1):
    return torch.optim.SGD(module.parameters(), lr=lr)


# --- steps --------------------------------------------------------------------------------------


class Gan(pl.LightningModule):
    """Two halves with an optimizer each."""

    def __init__(self, automatic):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 1)
        self.automatic_optimization = automatic
        self.steps = []

    def configure_optimizers(self):
        return [sgd(self.first), sgd(self.second)]

    def train_dataloader(self):
        return loader(8)


class ManualGan(Gan):
    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            loss = self.second(self.first(batch[0])).mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.steps.append(self.trainer.global_step)


class AutomaticGan(Gan):
    def training_step(self, batch, batch_idx, optimizer_idx):
        self.steps.append((optimizer_idx, self.trainer.global_step))
        return self.second(self.first(batch[0])).mean()


def test_steps_of_all_optimizers_count():
    module, of = ManualGan(automatic=False), trainer()
    of.fit(module)
    assert module.steps == [1, 2, 3, 4, 5, 6, 7, 8]
    assert of.global_step == 8
    module, of = AutomaticGan(automatic=True), trainer()
    of.fit(module)
    assert module.steps == [(0, 0), (1, 1), (0, 2), (1, 3), (0, 4), (1, 5), (0, 6), (1, 7)]
    assert of.global_step == 8


def test_no_loss_is_no_step_but_counts():
    class Skipping(Recorder):
        def training_step(self, batch, batch_idx):
            return None if batch_idx in (1, 2) else self.loss(batch)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.seen.append((self.layer.weight.detach().clone(), self.trainer.global_step))

    module = Skipping()
    trainer().fit(module)
    weights = [weight for weight, _ in module.seen]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[2], weights[3])
    assert [step for _, step in module.seen] == [1, 2, 3, 4]


def test_without_an_optimizer_steps_count_too():
    class Free(Small):
        def configure_optimizers(self):
            return None

    of = trainer()
    with pytest.warns(UserWarning, match="no optimizer"):
        of.fit(Free())
    assert of.global_step == 4


def test_the_last_window_of_an_epoch_steps_though_it_is_short():
    class Counting(Recorder):
        def on_before_optimizer_step(self, optimizer):
            self.seen.append(self.trainer.fit_loop.epoch_loop.batch_idx)

    module, of = Counting(), trainer(accumulate_grad_batches=3)
    of.fit(module)
    assert module.seen == [2, 3]
    assert of.global_step == 2


def test_backward_gets_the_divided_loss_and_logs_get_the_whole_one():
    class Seeing(Recorder):
        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.log("loss", loss)
            self.seen.append(("step", loss.item()))
            return loss

        def on_before_backward(self, loss):
            self.seen.append(("backward", loss.item()))

        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.seen.append(("end", outputs["loss"].item()))

    module, logger = Seeing(), Memory()
    of = trainer(accumulate_grad_batches=2, limit_train_batches=2, log_every_n_steps=1)
    of.loggers = [logger]
    of.fit(module)
    of_step = [value for name, value in module.seen if name == "step"]
    assert [v for n, v in module.seen if n == "backward"] == [value / 2 for value in of_step]
    assert [v for n, v in module.seen if n == "end"] == [value / 2 for value in of_step]
    assert logger.points("loss") == [(0, of_step[1])]


def test_gradients_can_be_read_after_the_step():
    class Reading(Recorder):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.seen.append(self.layer.weight.grad.abs().sum().item())

    module = Reading()
    trainer().fit(module)
    assert len(module.seen) == 4
    assert all(value > 0 for value in module.seen)


def test_the_end_of_a_batch_gets_a_dictionary_whatever_the_step_returned():
    class Tensor(Recorder):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.seen.append(outputs)

    class Mapping(Tensor):
        def training_step(self, batch, batch_idx):
            return {"loss": self.loss(batch), "extra": batch_idx}

    for kind, keys in ((Tensor, {"loss"}), (Mapping, {"loss", "extra"})):
        module = kind()
        trainer(limit_train_batches=1).fit(module)
        assert set(module.seen[0]) == keys
        assert not module.seen[0]["loss"].requires_grad


def test_clipping_comes_before_the_step_and_not_by_hand():
    class Clipped(Recorder):
        def on_before_optimizer_step(self, optimizer):
            self.layer.weight.grad.fill_(100.0)

        def optimizer_step(self, epoch, batch_idx, optimizer, closure):
            super().optimizer_step(epoch, batch_idx, optimizer, closure)
            self.seen.append(torch.linalg.vector_norm(self.layer.weight.grad).item())

        def configure_optimizers(self):
            return torch.optim.SGD([self.layer.weight], lr=0.0)

    module = Clipped()
    trainer(gradient_clip_val=0.5).fit(module)
    assert module.seen == pytest.approx([0.5] * 4)
    with pytest.raises(pl.utilities.exceptions.MisconfigurationException, match="clip_gradients"):
        trainer(gradient_clip_val=0.5).fit(ManualGan(automatic=False))


# --- schedulers ---------------------------------------------------------------------------------


class Scheduled(Recorder):
    """Keeps the rate at the start of every batch and of every validation."""

    def __init__(self, **config):
        super().__init__()
        self.config = config

    def configure_optimizers(self):
        optimizer = sgd(self, lr=1.0)
        scheduler = StepLR(optimizer, 1, gamma=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **self.config}}

    def on_train_batch_start(self, batch, batch_idx):
        self.seen.append(self.optimizers().param_groups[0]["lr"])

    def on_validation_start(self):
        self.seen.append(("validation", self.optimizers().param_groups[0]["lr"]))


def test_schedulers_of_epochs_step_before_the_validation():
    module = Scheduled()
    trainer(max_epochs=2, limit_train_batches=1).fit(module)
    assert module.seen == [1.0, ("validation", 0.5), 0.5, ("validation", 0.25)]


def test_plateau_schedulers_step_after_it():
    class Plateau(Scheduled):
        def configure_optimizers(self):
            optimizer = sgd(self, lr=1.0)
            scheduler = ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": "flat"},
            }

        def on_validation_epoch_end(self):
            self.log("flat", 1.0)

    module = Plateau()
    trainer(max_epochs=3, limit_train_batches=1).fit(module)
    expected = [1.0, ("validation", 1.0), 1.0, ("validation", 1.0), 0.5, ("validation", 0.5)]
    assert module.seen == expected


def rates(**config):
    accumulate = config.pop("accumulate", 1)
    module = Scheduled(**config)
    trainer(max_epochs=2, limit_val_batches=0, accumulate_grad_batches=accumulate).fit(module)
    return module.seen


def test_the_frequency_of_steps_goes_on_over_the_epochs():
    # epochs of four batches: every third step of the whole run
    assert rates(interval="step", frequency=3) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_the_frequency_of_steps_counts_windows():
    assert rates(interval="step", frequency=2, accumulate=2) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]


def test_a_scheduler_waits_when_nothing_stepped():
    class Skipping(Scheduled):
        def training_step(self, batch, batch_idx):
            return None if batch_idx < 2 else self.loss(batch)

    module = Skipping(interval="step")
    trainer(limit_val_batches=0).fit(module)
    assert module.seen == [1.0, 1.0, 1.0, 0.5]


def test_optimizers_by_frequency_and_their_schedulers_use_one_count():
    chosen = []

    class Alternating(Gan):
        def configure_optimizers(self):
            first, second = super().configure_optimizers()
            return (
                {"optimizer": first, "frequency": 2, "lr_scheduler": self.scheduler(first)},
                {"optimizer": second, "frequency": 1, "lr_scheduler": self.scheduler(second)},
            )

        def scheduler(self, optimizer):
            return {"scheduler": StepLR(optimizer, 1, gamma=0.5), "interval": "step"}

        def training_step(self, batch, batch_idx, optimizer_idx):
            chosen.append((optimizer_idx, self.optimizers()[optimizer_idx].param_groups[0]["lr"]))
            return self.second(self.first(batch[0])).mean()

    trainer(max_epochs=2).fit(Alternating(automatic=True))
    # epochs of four batches, each of which begins a cycle of its own
    assert [index for index, _ in chosen] == [0, 0, 1, 0, 0, 0, 1, 0]
    seen = [rate for _, rate in chosen]
    assert seen == pytest.approx([0.1, 0.05, 0.1, 0.025, 0.0125, 0.00625, 0.05, 0.003125])


def test_steps_are_known_when_schedulers_are_made():
    class Known(Small):
        def configure_optimizers(self):
            self.steps = self.trainer.estimated_stepping_batches
            return sgd(self)

    module = Known()
    trainer(max_epochs=3, accumulate_grad_batches=2).fit(module)
    assert module.steps == 6


def test_parameters_that_come_later_are_not_trained():
    class Late(Small):
        def configure_optimizers(self):
            optimizer = sgd(self)
            self.late = nn.Linear(1, 1, bias=False)
            self.before = self.late.weight.item()
            return optimizer

        def training_step(self, batch, batch_idx):
            return self.loss(batch) + self.late.weight.sum()

    module = Late()
    of = trainer()
    of.fit(module)
    assert sum(len(group["params"]) for group in of.optimizers[0].param_groups) == 2
    assert module.late.weight.item() == module.before


# --- modes, devices, modules --------------------------------------------------------------------


def test_every_train_flag_is_as_before_after_an_evaluation():
    class Frozen(Small):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = nn.Dropout(), nn.Dropout()
            self.flags = []

        def validation_step(self, batch, batch_idx):
            self.flags.append(("validation", self.backbone.training, self.head.training))

        def on_train_batch_start(self, batch, batch_idx):
            self.flags.append(("train", self.backbone.training, self.head.training))

    module = Frozen()
    module.backbone.eval()
    of = trainer(max_epochs=2, limit_train_batches=1, limit_val_batches=1)
    of.fit(module)
    assert module.flags == [("train", False, True), ("validation", False, False)] * 2
    for verb in (of.validate, of.test, of.predict):
        verb(module)
        assert (module.training, module.backbone.training, module.head.training) == (
            (True, False, True)
        )


def test_a_module_in_eval_mode_stays_in_it():
    class Seeing(Recorder):
        def training_step(self, batch, batch_idx):
            self.seen.append(self.training)
            return self.loss(batch)

    module = Seeing().eval()
    trainer().fit(module)
    assert module.seen == [False] * 4


def test_anything_that_can_move_is_moved_in_any_nesting():
    class Movable:
        def __init__(self):
            self.moves = []

        def to(self, device, **options):
            self.moves.append(str(device))
            return self

    batch = {"a": [torch.ones(2, 4), (torch.ones(1),)], "b": Movable(), "c": "text", "d": None}

    class Seeing(Recorder):
        def training_step(self, batch, batch_idx):
            self.seen.append(batch)
            return self(batch["a"][0]).mean()

    module = Seeing()
    trainer(limit_val_batches=0).fit(module, [batch])
    seen = module.seen[0]
    assert seen["b"].moves == ["cpu"]
    assert torch.equal(seen["a"][1][0], torch.ones(1))
    assert (seen["c"], seen["d"]) == ("text", None)


def test_a_compiled_module_is_taken_for_what_it_is():
    module = Small()
    compiled = torch.compile(module, backend="eager")
    of = trainer()
    of.fit(compiled)
    assert of.lightning_module is module
    assert of.global_step == 4
    assert of.test(compiled, verbose=False)[0].keys() == {"test_loss"}


def test_configure_model_may_be_called_again():
    class Built(Small):
        calls = 0

        def configure_model(self):
            self.calls += 1

    module, of = Built(), trainer()
    of.fit(module)
    of.test(module, verbose=False)
    assert module.calls == 2


def test_state_of_optimizers_is_where_the_parameters_are(tmp_path):
    class Momentum(Small):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    first = trainer()
    first.fit(Momentum())
    first.save_checkpoint(tmp_path / "x.ckpt")
    module, of = Momentum(), trainer(max_epochs=2)
    of.fit(module, ckpt_path=tmp_path / "x.ckpt")
    states = list(of.optimizers[0].state.values())
    assert states[0]["exp_avg"].device == module.layer.weight.device
    assert states[0]["step"] == 8


# --- data ---------------------------------------------------------------------------------------


def test_one_batch_of_a_stream_is_read_ahead():
    reads = []

    def stream():
        for number in range(4):
            reads.append(number)
            yield [rows(2)]

    class Seeing(Recorder):
        def training_step(self, batch, batch_idx):
            self.seen.append(len(reads))
            return self.loss(batch)

    class Stream:
        def __iter__(self):
            return stream()

    module = Seeing()
    trainer(limit_val_batches=0).fit(module, Stream())
    assert module.seen == [2, 3, 4, 4]


def test_setup_of_fit_is_for_its_validation_too_and_that_of_validate_for_itself():
    stages = []

    class Data(pl.LightningDataModule):
        def setup(self, stage):
            stages.append(stage)
            self.data = TensorDataset(rows(4))

        def train_dataloader(self):
            return DataLoader(self.data, batch_size=2)

        val_dataloader = test_dataloader = predict_dataloader = train_dataloader

    of, module = trainer(num_sanity_val_steps=1), Small()
    of.fit(module, Data())
    of.validate(module, Data(), verbose=False)
    of.test(module, Data(), verbose=False)
    of.predict(module, Data())
    assert stages == ["fit", "validate", "test", "predict"]


def test_overfitting_neither_shuffles_nor_mixes_training_and_validation():
    class Seeing(Recorder):
        def training_step(self, batch, batch_idx):
            self.seen.append(("train", batch[0]))
            return self.loss(batch)

        def validation_step(self, batch, batch_idx):
            self.seen.append(("validation", batch[0]))

    module = Seeing()
    train, val = loader(8, shuffle=True), [[torch.zeros(2, 4)], [torch.ones(2, 4)]]
    of = trainer(overfit_batches=2, max_epochs=2)
    with pytest.warns(UserWarning, match="overfit"):
        of.fit(module, train, val)
    trained = [batch for kind, batch in module.seen if kind == "train"]
    assert torch.equal(torch.cat(trained[:2]), rows(8)[:4])
    assert torch.equal(trained[0], trained[2])
    validated = [batch for kind, batch in module.seen if kind == "validation"]
    assert torch.equal(validated[0], torch.zeros(2, 4))
    assert isinstance(of.train_dataloader.sampler, SequentialSampler)


def test_one_is_a_batch_and_one_point_nought_is_all(caplog):
    with caplog.at_level("INFO"):
        one, whole = trainer(limit_train_batches=1), trainer(limit_train_batches=1.0)
    assert "limit_train_batches=1)`: 1 batch " in caplog.text
    assert "limit_train_batches=1.0)`: all batches" in caplog.text
    for of, batches in ((one, 1), (whole, 4)):
        of.fit(Small())
        assert of.global_step == batches


def test_seeds_come_from_the_environment_and_reach_workers(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "17")
    assert pl.seed_everything(workers=True) == 17
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert pl.seed_everything() == 0


def test_deterministic_prepares_the_gpu_libraries_too(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    trainer(deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_rehearsal_leaves_no_trace(tmp_path):
    class Counting(Callback):
        checked = 0

        def on_validation_end(self, trainer, pl_module):
            self.checked += 1

    counting = Counting()
    of = pl.Trainer(
        fast_dev_run=2,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(monitor="x"), EarlyStopping("x"), counting],
    )
    of.fit(Small())
    assert of.global_step == 2
    assert of.log_dir is None
    assert counting.checked == 1
    assert list(tmp_path.iterdir()) == []
