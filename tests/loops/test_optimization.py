"""What happens between a batch and an optimizer step, and when a run ends."""

import contextlib

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins import Precision
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Net(pl.LightningModule):
    """A linear layer that keeps what it sees."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch_idx)
        return self.layer(batch[0]).mean()

    def validation_step(self, batch, batch_idx):
        self.seen.append(f"validation {batch_idx}")
        self.log("val_loss", self.layer(batch[0]).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def loader(num_batches):
    x = torch.arange(4.0 * num_batches).reshape(2 * num_batches, 2)
    return DataLoader(TensorDataset(x), batch_size=2)


def fit(module, num_batches=4, validation=None, **options):
    trainer = pl.Trainer(
        **{
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "max_epochs": 1,
            **options,
        }
    )
    trainer.fit(module, loader(num_batches), validation)
    return trainer


# --- the closure ----------------------------------------------------------------------------------


def test_an_optimizer_may_call_the_closure_several_times():
    class Curved(Net):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters(), 0.01, max_iter=3)

    module = Curved()
    trainer = fit(module, 2)
    assert module.seen == [0, 0, 0, 1, 1, 1]
    assert trainer.global_step == 2


def test_step_zero_grad_and_backward_are_inside_the_closure():
    class Watched(Net):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            before = len(self.seen)
            self.layer.weight.grad = torch.full((1, 2), 100.0)  # zero_grad must clear it
            loss = optimizer_closure()
            assert len(self.seen) == before + 1
            assert isinstance(loss, torch.Tensor)
            assert self.layer.weight.grad.max() < 100
            optimizer.step()

    fit(Watched())


def test_an_optimizer_step_that_forgets_the_closure_is_refused():
    class Forgets(Net):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            pass

    with pytest.raises(MisconfigurationException, match="closure"):
        fit(Forgets())


def test_the_closure_alone_computes_gradients_and_counts_as_a_step():
    class Waits(Net):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            optimizer_closure()

    module = Waits()
    before = module.layer.weight.detach().clone()
    trainer = fit(module)
    assert torch.equal(module.layer.weight, before)
    assert module.layer.weight.grad is not None
    assert trainer.global_step == 4


# --- what a step returns --------------------------------------------------------------------------


def test_a_mapping_keeps_its_other_entries_for_the_end_of_the_batch():
    class More(Net):
        def training_step(self, batch, batch_idx):
            return {"loss": super().training_step(batch, batch_idx), "extra": "kept"}

        def on_train_batch_end(self, outputs, batch, batch_idx):
            assert outputs["extra"] == "kept"
            assert not outputs["loss"].requires_grad

    assert fit(More()).global_step == 4


def test_none_skips_backward_and_step_but_is_counted():
    class Skips(Net):
        def training_step(self, batch, batch_idx):
            return None

        def on_before_backward(self, loss):
            raise AssertionError

    module = Skips()
    before = module.layer.weight.detach().clone()
    with pytest.warns(UserWarning, match="returned None"):
        trainer = fit(module)
    assert torch.equal(module.layer.weight, before)
    assert trainer.global_step == 4


@pytest.mark.parametrize("output", [1.5, "loss", {"no": "loss"}, [torch.ones(())]])
def test_anything_else_is_refused(output):
    class Odd(Net):
        def training_step(self, batch, batch_idx):
            return output

    with pytest.raises(MisconfigurationException, match="training_step"):
        fit(Odd())


def test_the_loss_is_divided_for_backward_and_in_outputs_but_not_in_the_step():
    class Divided(Net):
        def training_step(self, batch, batch_idx):
            self.loss = super().training_step(batch, batch_idx)
            return self.loss

        def on_before_backward(self, loss):
            assert torch.equal(loss, self.loss / 2)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            assert torch.equal(outputs["loss"], self.loss.detach() / 2)
            self.seen.append("divided")

    module = Divided()
    fit(module, accumulate_grad_batches=2)
    assert module.seen.count("divided") == 4


# --- configure_optimizers -------------------------------------------------------------------------


def sgd(module):
    return torch.optim.SGD(module.parameters(), 0.1)


def step_lr(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1)


def with_list(module):
    optimizer = sgd(module)
    return [optimizer], [step_lr(optimizer)]


def with_single_scheduler(module):
    optimizer = sgd(module)
    return [optimizer], step_lr(optimizer)


def with_dict(module):
    optimizer = sgd(module)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": step_lr(optimizer)}}


def with_monitor(module):
    optimizer = sgd(module)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return {"optimizer": optimizer, "lr_scheduler": plateau, "monitor": "val_loss"}


FORMS = {
    "one": (sgd, 0),
    "list": (lambda m: [sgd(m)], 0),
    "tuple": (lambda m: (sgd(m),), 0),
    "lists": (with_list, 1),
    "single scheduler": (with_single_scheduler, 1),
    "dict": (with_dict, 1),
    "monitor": (with_monitor, 1),
    "list of dicts": (lambda m: [with_dict(m)], 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_optimizers(form):
    make, num_schedulers = FORMS[form]

    class Formed(Net):
        def configure_optimizers(self):
            return make(self)

    trainer = fit(Formed(), validation=loader(1))
    assert len(trainer.optimizers) == 1
    assert len(trainer.lr_scheduler_configs) == num_schedulers
    assert trainer.global_step == 4


def test_no_optimizer_is_warned_of_and_counted():
    class Without(Net):
        def configure_optimizers(self):
            return None

    module = Without()
    before = module.layer.weight.detach().clone()
    with pytest.warns(UserWarning, match="no optimizer"):
        trainer = fit(module)
    assert trainer.global_step == 4
    assert torch.equal(module.layer.weight, before)


def test_an_unknown_key_is_warned_of():
    class Typo(Net):
        def configure_optimizers(self):
            return {"optimizer": sgd(self), "lr_schedulers": None}

    with pytest.warns(UserWarning, match="lr_schedulers"):
        fit(Typo())


def test_whatever_can_be_stepped_is_an_optimizer():
    class Own:
        def __init__(self, parameters):
            self.param_groups = [{"params": list(parameters), "lr": 0.1}]
            self.defaults, self.state, self.steps = {}, {}, 0

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

        def zero_grad(self, set_to_none=True):
            for parameter in self.param_groups[0]["params"]:
                parameter.grad = None

        def step(self, closure=None):
            closure()
            self.steps += 1

    class Custom(Net):
        def configure_optimizers(self):
            self.own = Own(self.parameters())
            return self.own

    module = Custom()
    fit(module)
    assert module.own.steps == 4


@pytest.mark.parametrize("junk", [1, "SGD", [1], {"optimizer": "SGD"}, {"lr_scheduler": None}])
def test_junk_is_refused_with_the_forms(junk):
    class Junk(Net):
        def configure_optimizers(self):
            return junk

    with pytest.raises(MisconfigurationException, match="optimizer"):
        fit(Junk())


def test_the_wrapper_looks_like_what_it_wraps():
    module = Net()
    wrapped = LightningOptimizer(sgd(module))
    assert isinstance(wrapped, torch.optim.SGD)
    assert type(wrapped.optimizer) is torch.optim.SGD
    assert wrapped.param_groups is wrapped.optimizer.param_groups
    assert wrapped.defaults["lr"] == 0.1
    with pytest.raises(MisconfigurationException, match="closure"):
        wrapped.step(closure="none")


# --- several optimizers ---------------------------------------------------------------------------


class Pair(Net):
    """Two layers, an optimizer for each, in the way of 1.x."""

    frequencies = None

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(2, 1)
        self.outputs = []

    def training_step(self, batch, batch_idx, optimizer_idx):
        trained = [p.requires_grad for p in (self.layer.weight, self.other.weight)]
        self.seen.append((batch_idx, optimizer_idx, trained))
        return (self.layer, self.other)[optimizer_idx](batch[0]).mean()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.outputs.append(outputs)

    def training_epoch_end(self, outputs):
        assert outputs == self.outputs[-len(outputs) :]

    def configure_optimizers(self):
        optimizers = [torch.optim.SGD(m.parameters(), 0.1) for m in (self.layer, self.other)]
        if self.frequencies is None:
            return optimizers
        return [
            {"optimizer": o, "frequency": f, "lr_scheduler": self.schedule(o)}
            for o, f in zip(optimizers, self.frequencies, strict=True)
        ]

    @staticmethod
    def schedule(optimizer):
        return {"scheduler": step_lr(optimizer), "interval": "step"}


def test_each_batch_goes_through_all_optimizers_with_the_others_off():
    module = Pair()
    fit(module, 2)
    on, off = [True, False], [False, True]
    assert module.seen == [(0, 0, on), (0, 1, off), (1, 0, on), (1, 1, off)]
    assert all(p.requires_grad for p in module.parameters())


class Rows(Logger):
    """Keeps the x of every row."""

    name = "rows"
    version = 0

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def test_every_optimizer_counts_but_loggers_count_batches():
    class Logs(Pair):
        def training_step(self, batch, batch_idx, optimizer_idx):
            loss = super().training_step(batch, batch_idx, optimizer_idx)
            self.log(f"loss_{optimizer_idx}", loss)
            return loss

    rows = Rows()
    trainer = fit(Logs(), 3, logger=rows, log_every_n_steps=1)
    assert trainer.global_step == 6
    assert [step for step, _ in rows.rows] == [0, 1, 2]
    assert fit(Pair(), 3, max_steps=4, max_epochs=-1).global_step == 4


def test_outputs_are_lists_per_batch_of_lists_per_optimizer():
    module = Pair()
    fit(module, 3)
    assert [len(outputs) for outputs in module.outputs] == [2, 2, 2]
    assert all("loss" in output for outputs in module.outputs for output in outputs)


def test_frequencies_choose_by_the_place_in_the_epoch_and_schedulers_follow():
    class Turns(Pair):
        frequencies = (2, 1)
        stepped = 0

        def lr_scheduler_step(self, scheduler, metric):
            index = [c.scheduler for c in self.trainer.lr_scheduler_configs].index(scheduler)
            self.seen.append(f"scheduler {index}")
            scheduler.step()

    module = Turns()
    trainer = fit(module, 4, max_epochs=2)
    chosen = [event[1] for event in module.seen if isinstance(event, tuple)]
    assert chosen == [0, 0, 1, 0] * 2
    stepped = [event for event in module.seen if isinstance(event, str)]
    assert stepped == [f"scheduler {index}" for index in chosen]
    trained = [event[2] for event in module.seen if isinstance(event, tuple)]
    assert trained == [[not index, bool(index)] for index in chosen]
    assert trainer.global_step == 8


def test_frequencies_are_given_to_all_or_none():
    class Half(Pair):
        def configure_optimizers(self):
            first, second = super().configure_optimizers()
            return [{"optimizer": first, "frequency": 1}, {"optimizer": second}]

    with pytest.raises(ValueError, match="frequency"):
        fit(Half())


def test_a_scheduler_is_tied_to_its_optimizer():
    module = Pair()
    module.frequencies = (1, 1)
    trainer = fit(module)
    assert [config.opt_idx for config in trainer.lr_scheduler_configs] == [0, 1]


def test_several_optimizers_need_the_argument():
    class Forgets(Pair):
        def training_step(self, batch, batch_idx):
            return self.layer(batch[0]).mean()

    with pytest.raises(RuntimeError, match="optimizer_idx"):
        fit(Forgets())


def test_the_argument_has_no_place_in_manual_optimization():
    module = Pair()
    module.automatic_optimization = False
    with pytest.raises(ValueError, match="optimizer_idx"):
        fit(module)


def test_truncated_backpropagation_says_what_to_write():
    class Chunks(Net):
        def training_step(self, batch, batch_idx, hiddens):
            return None

    with pytest.raises(MisconfigurationException, match="manual"):
        fit(Chunks())


# --- accumulation and clipping --------------------------------------------------------------------


def test_windows_step_when_full_and_at_the_end_of_the_epoch():
    class Counts(Net):
        def on_before_optimizer_step(self, optimizer):
            self.seen.append("step")

    module = Counts()
    assert fit(module, 5, accumulate_grad_batches=2).global_step == 3
    assert module.seen == [0, 1, "step", 2, 3, "step", 4, "step"]


def test_a_short_window_is_averaged_over_what_it_holds():
    class Sees(Net):
        def on_before_optimizer_step(self, optimizer):
            self.seen.append(self.layer.weight.grad.clone())

    module = Sees()
    fit(module, 3, accumulate_grad_batches=2)
    gradients = [g for g in module.seen if isinstance(g, torch.Tensor)]
    means = [batch[0].mean(0, keepdim=True) for batch in loader(3)]
    torch.testing.assert_close(gradients[0], (means[0] + means[1]) / 2)
    torch.testing.assert_close(gradients[1], means[2])


def test_gradients_are_cleared_at_the_start_of_a_window():
    class Reads(Net):
        def on_train_batch_start(self, batch, batch_idx):
            self.seen.append(self.layer.weight.grad is not None)

        def on_before_zero_grad(self, optimizer):
            self.seen.append("clear")

    module = Reads()
    fit(module, 4, accumulate_grad_batches=2)
    assert module.seen == [False, 0, "clear", True, 1, True, 2, "clear", True, 3]
    assert module.layer.weight.grad is not None


def test_synchronization_is_held_back_while_a_window_is_open():
    class Watched(SingleDeviceStrategy):
        blocked = ()

        @contextlib.contextmanager
        def block_backward_sync(self):
            self.blocked = (*self.blocked, "in")
            yield
            self.blocked = (*self.blocked, "out")

    strategy = Watched(device=torch.device("cpu"))
    fit(Net(), 5, strategy=strategy, accumulate_grad_batches=2)
    assert strategy.blocked == ("in", "out") * 2


def test_step_values_are_sent_on_stepping_batches_only():
    class Logs(Net):
        def training_step(self, batch, batch_idx):
            self.log("number", float(batch_idx))
            return super().training_step(batch, batch_idx)

    rows = Rows()
    fit(Logs(), 5, logger=rows, log_every_n_steps=1, accumulate_grad_batches=2)
    assert [(step, metrics["number"]) for step, metrics in rows.rows] == [(0, 1), (1, 3), (2, 4)]


class Manual(Net):
    """Optimizes by hand."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()


@pytest.mark.parametrize("options", [{"accumulate_grad_batches": 2}, {"gradient_clip_val": 1.0}])
def test_manual_optimization_accumulates_and_clips_by_hand(options):
    with pytest.raises(MisconfigurationException, match=next(iter(options))):
        fit(Manual(), **options)
    assert fit(Manual()).global_step == 4


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipping(algorithm):
    class Clipped(Net):
        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            optimizer_closure()
            gradients = [p.grad.flatten() for p in self.parameters()]
            if algorithm == "norm":
                assert torch.cat(gradients).norm() <= 0.1 + 1e-6
            else:
                assert torch.cat(gradients).abs().max() <= 0.1
            self.seen.append("clipped")

    module = Clipped()
    fit(module, gradient_clip_val=0.1, gradient_clip_algorithm=algorithm)
    assert module.seen.count("clipped") == 4


def test_clipping_may_be_configured_even_without_a_value():
    class Configures(Net):
        def configure_gradient_clipping(
            self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None
        ):
            self.seen.append((gradient_clip_val, gradient_clip_algorithm))

    module = Configures()
    fit(module, 4, accumulate_grad_batches=2)
    assert module.seen == [0, 1, (None, None), 2, 3, (None, None)]


def test_the_order_around_a_precision_that_scales():  # noqa: C901 - one method per event
    events = []

    class Scales(Precision):
        @contextlib.contextmanager
        def forward_context(self):
            events.append("autocast")
            yield

        def pre_backward(self, tensor, module):
            events.append("scale")
            return super().pre_backward(tensor * 8, module)

        def unscale_gradients(self, optimizer):
            events.append("unscale")
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad /= 8

        def clip_gradients(self, *args, **kwargs):
            events.append("clip")
            super().clip_gradients(*args, **kwargs)

        def optimizer_step(self, optimizer, model, closure, **kwargs):
            result = super().optimizer_step(optimizer, model, closure, **kwargs)
            events.append("scaler.step")
            return result

    class Tells(Net):
        def training_step(self, batch, batch_idx):
            events.append("training_step")
            return super().training_step(batch, batch_idx)

        def on_after_backward(self):
            events.append("backward")

        def on_before_optimizer_step(self, optimizer):
            events.append("on_before_optimizer_step")

    fit(Tells(), 1, plugins=[Scales()], gradient_clip_val=1.0)
    assert events == [
        *("autocast", "training_step", "scale", "backward", "unscale"),
        *("on_before_optimizer_step", "clip", "scaler.step"),
    ]


# --- the ends of a run ----------------------------------------------------------------------------


def test_the_sanity_check_leaves_no_trace():
    class Random(Net):
        def validation_step(self, batch, batch_idx):
            super().validation_step(batch, batch_idx)
            torch.rand(())

        def on_train_start(self):
            assert not self.trainer.callback_metrics
            self.random = torch.rand(())

    rows = Rows()
    pl.seed_everything(3, verbose=False)
    checked = Random()
    fit(checked, validation=loader(2), num_sanity_val_steps=2, max_steps=1, logger=rows)
    pl.seed_everything(3, verbose=False)
    unchecked = Random()
    fit(unchecked, validation=loader(2), max_steps=1)
    assert checked.seen[:2] == ["validation 0", "validation 1"]
    assert torch.equal(checked.random, unchecked.random)
    assert rows.rows == []


def test_a_resumed_run_makes_no_sanity_check(tmp_path):
    trainer = fit(Net(), validation=loader(2))
    trainer.save_checkpoint(tmp_path / "kept.ckpt")
    module = Net()
    again = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, max_epochs=2,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    again.fit(module, loader(1), loader(2), ckpt_path=tmp_path / "kept.ckpt")
    assert module.seen == [0, "validation 0", "validation 1"]


def test_minus_one_ends_the_epoch_without_validation_and_batch_end():
    class Cuts(Net):
        def on_train_batch_start(self, batch, batch_idx):
            return -1 if batch_idx == 1 else None

        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.seen.append(f"end {batch_idx}")

        def on_train_epoch_end(self):
            self.seen.append("epoch end")

    module = Cuts()
    fit(module, validation=loader(1))
    assert module.seen == [0, "end 0", "epoch end"]


@pytest.mark.parametrize("limit", [{"max_epochs": 0}, {"max_steps": 0}])
def test_a_limit_of_zero_still_checks_sanity(limit):
    class Ends(Net):
        def on_fit_start(self):
            self.seen.append("fit start")

        def on_train_start(self):
            self.seen.append("train start")

        def on_train_end(self):
            self.seen.append("train end")

        def on_fit_end(self):
            self.seen.append("fit end")

    module = Ends()
    fit(module, validation=loader(1), num_sanity_val_steps=2, **limit)
    assert module.seen == ["fit start", "validation 0", "fit end"]


def test_an_epoch_that_max_steps_cuts_short_is_not_validated():
    module = Net()
    fit(module, 3, validation=loader(1), max_epochs=-1, max_steps=4)
    assert module.seen == [0, 1, 2, "validation 0", 0]


def test_a_closure_called_again_inside_a_window_is_an_error():
    class Repeating(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch[0]).square().mean()

        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters(), 0.01, max_iter=3)

    quiet = {
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    data = DataLoader(TensorDataset(torch.randn(8, 2)), batch_size=2)
    pl.Trainer(**quiet).fit(Repeating(), data)
    message = "LBFGS.*several times.*`accumulate_grad_batches=2`.*Pass `accumulate_grad_batches=1`"
    with pytest.raises(MisconfigurationException, match=message):
        pl.Trainer(**quiet, accumulate_grad_batches=2).fit(Repeating(), data)
