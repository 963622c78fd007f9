"""A `LightningModule` by itself, and what it may ask of its run."""

import copy
import gc
import io
import pickle
import warnings
import weakref

import pytest
import torch
from tests.loops.logging_runs import Plain, Rows, fitted, numbers, trainer
from torch import nn

import pytorch_lightning as pl
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Inside(Plain):
    """Calls a function in its first training step."""

    def __init__(self, ask):
        super().__init__()
        self.ask = ask
        self.answers = []

    def training_step(self, batch, batch_idx):
        if not self.answers:
            self.answers.append(self.ask(self))
        return super().training_step(batch, batch_idx)


def asked(question, module=None, **arguments):
    """What a module gets for a question inside its first training step."""
    module = module or Inside(question)
    fitted(module, numbers(4), **arguments)
    return module.answers[0]


class Nested(Plain):
    """A module with another one inside."""

    def __init__(self):
        super().__init__()
        self.inner = Plain()
        self.register_buffer("counts", torch.zeros(2, dtype=torch.long))


# --- alone ------------------------------------------------------------------------------------


def test_it_is_a_module_of_torch():
    module = Plain()
    assert isinstance(module, nn.Module)
    assert [name for name, _ in module.named_parameters()] == ["layer.weight", "layer.bias"]
    assert list(module.children()) == [module.layer]
    assert set(module.state_dict()) == {"layer.weight", "layer.bias"}
    other = Plain()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other.layer.weight, module.layer.weight)


class Calls(Plain):
    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, batch_idx):
        return self(batch).sum() + self.forward(batch).sum() + self.layer(batch).sum()


def test_calling_it_is_forward_without_a_trainer():
    module = Calls()
    assert torch.equal(module(torch.ones(2, 1)), module.layer(torch.ones(2, 1)))


def test_steps_may_call_forward_or_parts():
    assert fitted(Calls(), numbers(4)).global_step == 2


def test_without_forward_a_call_says_so():
    with pytest.raises(NotImplementedError):
        Plain()(1)


def test_alone_it_has_no_trainer():
    module = Plain()
    with pytest.raises(RuntimeError, match="not attached"):
        _ = module.trainer
    assert module.fabric is None
    assert (module.current_epoch, module.global_step) == (0, 0)
    assert (module.global_rank, module.local_rank) == (0, 0)
    assert module.logger is None
    assert module.loggers == []
    assert module.device_mesh is None


def test_what_needs_a_run_says_so():
    module = Plain()
    for call in (
        module.optimizers,
        module.lr_schedulers,
        lambda: module.toggle_optimizer(None),
        lambda: module.clip_gradients(None, 1.0),
    ):
        with pytest.raises(RuntimeError, match="needs a run"):
            call()


@pytest.mark.parametrize("attached", [False, True])
def test_copies_and_pickles_leave_the_run_behind(attached):
    module = Nested()
    if attached:
        fitted(module, numbers(4))
        assert module.trainer is not None
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other.layer.weight, module.layer.weight)
        with pytest.raises(RuntimeError, match="not attached"):
            _ = other.trainer
    if attached:
        assert module.trainer is module.inner.trainer


def test_a_copy_can_be_made_inside_a_step():
    other = asked(copy.deepcopy)
    with pytest.raises(RuntimeError, match="not attached"):
        _ = other.trainer
    assert fitted(other, numbers(4)).global_step == 2


def test_it_may_be_saved_whole_by_torch():
    module, file = Plain(), io.BytesIO()
    fitted(module, numbers(4))
    torch.save(module, file)
    file.seek(0)
    other = torch.load(file, weights_only=False)
    assert torch.equal(other.layer.weight, module.layer.weight)


def test_device_and_dtype_follow_moves():
    module = Nested()
    assert (module.device, module.dtype) == (torch.device("cpu"), torch.float32)
    for move, dtype in (
        (lambda: module.double(), torch.float64),
        (lambda: module.half(), torch.float16),
        (lambda: module.float(), torch.float32),
        (lambda: module.to(torch.bfloat16), torch.bfloat16),
        (lambda: module.type(torch.float64), torch.float64),
        (lambda: module.to("cpu", torch.float32), torch.float32),
        (lambda: module.to(torch.ones(1, dtype=torch.float64)), torch.float64),
        (lambda: module.cpu(), torch.float64),
    ):
        assert move() is module
        assert module.dtype == module.inner.dtype == module.layer.weight.dtype == dtype
    assert Nested().half().counts.dtype == torch.long
    module.to("meta")
    assert module.device == module.inner.device == torch.device("meta")


def test_device_and_dtype_are_not_assigned():
    module = Plain()
    with pytest.raises(AttributeError):
        module.device = "cpu"
    with pytest.raises(RuntimeError, match=r"\.to\("):
        module.dtype = torch.half


def test_on_gpu_is_about_cuda_alone():
    module = Plain()
    assert not module.on_gpu
    assert not module.to("meta").on_gpu


def test_settings():
    module = Plain()
    assert module.automatic_optimization is True
    module.automatic_optimization = False
    assert module.automatic_optimization is False
    assert module.strict_loading is True
    module.strict_loading = False
    assert module.strict_loading is False
    assert module.example_input_array is None
    for example in (torch.ones(1), (torch.ones(1), 2), {"x": torch.ones(1)}):
        module.example_input_array = example
        assert module.example_input_array is example


def test_freeze_and_unfreeze():
    module = Nested()
    assert module.freeze() is module
    assert not any(p.requires_grad for p in module.parameters())
    assert not any(child.training for child in module.modules())
    assert module.unfreeze() is module
    assert all(p.requires_grad for p in module.parameters())
    assert all(child.training for child in module.modules())


def test_print(capsys):
    Plain().print("alone", 1, sep="-")
    asked(lambda module: module.print("running", end="!\n"))
    assert capsys.readouterr().out.splitlines() == ["alone-1", "running!"]


def test_backward_is_that_of_the_loss():
    weight = torch.ones(1, requires_grad=True)
    loss = (weight * 3).sum()
    Plain().backward(loss, retain_graph=True)
    Plain().backward(loss)
    assert weight.grad == 6


def test_hooks_of_data_say_what_is_missing():
    for name in ("train", "val", "test", "predict"):
        with pytest.raises(MisconfigurationException, match=f"{name}_dataloader"):
            getattr(Plain(), f"{name}_dataloader")()


def test_steps_that_are_not_written():
    module = pl.LightningModule()
    with pytest.warns(UserWarning, match="training_step"):
        assert module.training_step() is None
    for name in ("validation_step", "test_step"):
        with pytest.raises(NotImplementedError):
            getattr(module, name)()
    with pytest.warns(UserWarning, match="configure_optimizers"):
        assert module.configure_optimizers() is None
    assert module.configure_callbacks() == []
    assert module.configure_model() is None


# --- inside a run -----------------------------------------------------------------------------


def test_inside_a_run_it_knows_its_trainer():
    def ask(module):
        trainer = module.trainer
        return (
            trainer.lightning_module is module,
            module.logger is trainer.logger,
            module.loggers == trainer.loggers,
            (module.global_rank, module.local_rank),
        )

    assert asked(ask) == (True, True, True, (0, 0))
    assert asked(lambda module: (module.logger, module.loggers), logger=False) == (None, [])
    first, second = Rows(), Rows()
    assert asked(lambda module: module.logger, logger=[first, second]) is first


def test_epoch_and_step_are_those_of_the_trainer():
    seen = []

    class Counts(Plain):
        def training_step(self, batch, batch_idx):
            seen.append((self.current_epoch, self.global_step))
            return super().training_step(batch, batch_idx)

    module = Counts()
    fitted(module, numbers(4), max_epochs=2)
    assert seen == [(0, 0), (0, 1), (1, 2), (1, 3)]
    assert (module.current_epoch, module.global_step) == (2, 4)


def test_the_trainer_is_set_on_inner_modules_too():
    module = Nested()
    made = fitted(module, numbers(4))
    assert module.trainer is module.inner.trainer is made
    module.trainer = None
    with pytest.raises(RuntimeError, match="not attached"):
        _ = module.inner.trainer


def test_an_inner_module_may_log():
    class Inner(Plain):
        def forward(self, x):
            self.log("inner", x.mean())
            return self.layer(x)

    class Outer(Plain):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def training_step(self, batch, batch_idx):
            return self.inner(batch).sum()

    assert fitted(Outer(), numbers(4)).logger.of("inner") == [(0, 0.5), (1, 2.5)]


class TwoOptimizers(Inside):
    """Manual optimization with two optimizers that share a parameter."""

    def __init__(self, ask):
        super().__init__(ask)
        self.automatic_optimization = False
        self.a, self.b, self.shared = (nn.Linear(1, 1) for _ in range(3))
        self.b.bias.requires_grad = False

    def training_step(self, batch, batch_idx):
        if not self.answers:
            self.answers.append(self.ask(self))

    def configure_optimizers(self):
        first = torch.optim.SGD([*self.a.parameters(), *self.shared.parameters()], lr=0.1)
        second = torch.optim.SGD([*self.b.parameters(), *self.shared.parameters()], lr=0.1)
        return [first, second], [torch.optim.lr_scheduler.StepLR(first, 1)]


def manual(question, **arguments):
    return asked(question, TwoOptimizers(question), **arguments)


def test_optimizers_and_schedulers():
    from pytorch_lightning.core.optimizer import LightningOptimizer

    wrapped, raw = asked(lambda m: (m.optimizers(), m.optimizers(use_pl_optimizer=False)))
    assert isinstance(wrapped, LightningOptimizer)
    assert isinstance(raw, torch.optim.SGD)
    assert wrapped.optimizer is raw
    assert asked(lambda m: m.lr_schedulers()) is None
    many, scheduler = manual(lambda m: (m.optimizers(), m.lr_schedulers()))
    assert [type(o) for o in many] == [LightningOptimizer] * 2
    assert isinstance(scheduler, torch.optim.lr_scheduler.StepLR)


def test_no_optimizer_is_an_empty_list():
    class Nothing(Inside):
        def configure_optimizers(self):
            return None

    question = lambda module: module.optimizers()  # noqa: E731
    assert asked(question, Nothing(question)) == []


def needs_gradient(module):
    return {name: p.requires_grad for name, p in module.named_parameters() if "layer" not in name}


def test_toggling_an_optimizer():
    def ask(module):
        first, second = module.optimizers()
        before = needs_gradient(module)
        module.toggle_optimizer(first)
        on_first = needs_gradient(module)
        module.untoggle_optimizer(first)
        between = needs_gradient(module)
        with module.toggled_optimizer(second):
            on_second = needs_gradient(module)
        return before, on_first, between, on_second, needs_gradient(module)

    before, on_first, between, on_second, after = manual(ask)
    assert before == between == after
    assert [name for name in before if not before[name]] == ["b.bias"]
    assert {name for name, on in on_first.items() if not on} == {"b.weight", "b.bias"}
    assert {name for name, on in on_second.items() if not on} == {"a.weight", "a.bias", "b.bias"}


def test_toggling_is_undone_after_an_error():
    def ask(module):
        with pytest.raises(ZeroDivisionError), module.toggled_optimizer(module.optimizers()[0]):
            raise ZeroDivisionError
        return needs_gradient(module)

    assert manual(ask)["b.weight"]


def test_toggling_as_earlier_releases_spell_it():
    def ask(module):
        first, _ = module.optimizers(use_pl_optimizer=False)
        module.toggle_optimizer(first, 0)
        on = needs_gradient(module)
        module.untoggle_optimizer(0)
        return on["b.weight"], needs_gradient(module)["b.weight"]

    assert manual(ask) == (False, True)


def test_manual_backward_is_for_manual_optimization():
    def ask(module):
        loss = module.a(torch.ones(1, 1)).sum()
        module.manual_backward(loss, retain_graph=True)
        module.manual_backward(loss)
        return float(module.a.bias.grad)

    assert manual(ask) == 2.0
    with pytest.raises(MisconfigurationException, match="automatic_optimization = False"):
        asked(lambda module: module.manual_backward(torch.ones(1)))


def test_clip_gradients_by_hand():
    def ask(module):
        module.manual_backward((module.a(torch.ones(1, 1)) * 100).sum())
        optimizer = module.optimizers()[0]
        module.clip_gradients(optimizer, 1.0, "value")
        clipped = float(module.a.bias.grad)
        module.clip_gradients(optimizer, gradient_clip_val=0.1, gradient_clip_algorithm="norm")
        gradients = torch.stack([p.grad.norm() for p in module.a.parameters()])
        return clipped, round(float(gradients.norm()), 4)

    assert manual(ask) == (1.0, 0.1)


def test_clip_gradients_must_not_contradict_the_trainer():
    def ask(module):
        module.clip_gradients(module.optimizers(), 2.0)

    with pytest.raises(MisconfigurationException, match="contradict"):
        asked(ask, gradient_clip_val=1.0)
    assert asked(ask) is None


def test_all_gather_of_one_process_gives_the_same_back():
    tree = {"a": torch.ones(2), "b": [torch.zeros(1)]}

    def ask(module):
        return module.all_gather(tree), module.all_gather(tree["a"], sync_grads=True)

    for gathered, one in (asked(ask), ask(Plain())):
        assert torch.equal(gathered["a"], tree["a"])
        assert one.shape == (2,)


def test_predict_step_calls_forward_with_the_whole_batch():
    class Predicts(pl.LightningModule):
        def forward(self, batch):
            x, y = batch
            return x + y

    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.arange(4.0), torch.ones(4)), batch_size=2
    )
    predictions = trainer().predict(Predicts(), loader)
    assert [p.tolist() for p in predictions] == [[1.0, 2.0], [3.0, 4.0]]


def test_a_step_gets_what_the_loader_gives():
    seen = []

    class Looks(Plain):
        def training_step(self, items, number):  # the names are free
            seen.append((type(items), len(items), number))
            return self.layer.weight.sum()

    data = torch.utils.data.TensorDataset(torch.arange(4.0), torch.ones(4))
    fitted(Looks(), torch.utils.data.DataLoader(data, batch_size=2))
    assert seen == [(list, 2, 0), (list, 2, 1)]


def test_a_step_may_take_the_batch_alone():
    class Short(Plain):
        def training_step(self, batch):
            return self.layer(batch).sum()

        def validation_step(self, batch):
            self.log("v", batch.mean())

    assert fitted(Short(), numbers(4), numbers(4)).callback_metrics["v"] == 1.5


def test_what_a_step_may_return():
    class Returns(Plain):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return [loss, {"loss": loss, "more": 1}, None][batch_idx]

        def on_train_batch_end(self, outputs, batch, batch_idx):
            seen.append(outputs)

    seen = []
    module = Returns()
    with pytest.warns(UserWarning, match="returned None"):
        fitted(module, numbers(6))
    assert [sorted(row) if row else row for row in seen[:2]] == [["loss"], ["loss", "more"]]
    assert not seen[2]


def test_backward_of_the_founding_page():
    seen = []

    class Page(Plain):
        def backward(self, loss, optimizer, optimizer_idx):
            seen.append((type(optimizer), optimizer_idx))
            loss.backward()

    fitted(Page(), numbers(4))
    assert seen == [(torch.optim.SGD, 0)] * 2


def test_a_module_of_several_models_with_every_loop():
    class System(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = nn.Linear(1, 2), nn.Linear(2, 1)

        def forward(self, x):
            return self.encoder(x)

        def loss(self, batch):
            return nn.functional.mse_loss(self.decoder(self(batch)), batch)

        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.loss(batch))

        def test_step(self, batch, batch_idx):
            self.log("test_loss", self.loss(batch))

        def predict_step(self, batch, batch_idx):
            return self(batch)

        def configure_optimizers(self):
            optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": "val_loss"},
            }

    module, made = System(), trainer(max_epochs=20)
    before = trainer().validate(module, numbers(4), verbose=False)[0]["val_loss"]
    made.fit(module, numbers(4), numbers(4))
    assert made.callback_metrics["val_loss"] < before / 2
    assert set(made.test(module, numbers(4), verbose=False)[0]) == {"test_loss"}
    assert [p.shape for p in made.predict(module, numbers(4))] == [(2, 2), (2, 2)]


def test_configure_model_makes_layers_late_and_callbacks_come_from_the_module():
    class Heard(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            pl_module.heard = True

    class Late(Plain):
        def configure_model(self):
            if not hasattr(self, "head"):
                self.head = nn.Linear(1, 1)

        def configure_callbacks(self):
            return Heard()

    module = Late()
    fitted(module, numbers(4))
    assert module.heard
    assert module.head.weight.requires_grad


def test_hooks_of_1x_collect_outputs_and_change_them():
    seen = {}

    class Old(Plain):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx)

        def training_step_end(self, output):
            return output * 2

        def training_epoch_end(self, outputs):
            seen["train"] = len(outputs), set(outputs[0])

        def validation_step(self, batch, batch_idx):
            return batch_idx

        def validation_step_end(self, output):
            return output + 10

        def validation_epoch_end(self, outputs):
            seen["validation"] = outputs

    fitted(Old(), numbers(4), numbers(4))
    assert seen == {"train": (2, {"loss"}), "validation": [10, 11]}


# --- train and eval mode ----------------------------------------------------------------------


class Modes(Plain):
    """Tells in which mode its layers are."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Dropout()
        self.frozen.eval()
        self.seen = {}

    def look(self, where):
        self.seen.setdefault(where, (self.training, self.layer.training, self.frozen.training))

    def training_step(self, batch, batch_idx):
        self.look("train" if self.current_epoch == 0 else "again")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.look("validation")
        assert not torch.is_grad_enabled()

    def predict_step(self, batch, batch_idx):
        self.look("predict")


def test_each_layer_has_its_mode_back_after_an_evaluation():
    module = Modes()
    made = fitted(module, numbers(4), numbers(4), max_epochs=2, num_sanity_val_steps=1)
    assert module.seen == {
        "train": (True, True, False),
        "validation": (False, False, False),
        "again": (True, True, False),
    }
    made.predict(module, numbers(4))
    assert module.seen["predict"] == (False, False, False)
    assert (module.training, module.layer.training, module.frozen.training) == (True, True, False)


def test_a_module_given_in_eval_mode_stays_there():
    module = Modes().eval()
    fitted(module, numbers(4), numbers(4))
    assert module.seen["train"] == (False, False, False)
    assert not module.training


# --- compiled ---------------------------------------------------------------------------------


class Compiles(Plain):
    """Logs many values, that change, in a step that may be compiled."""

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).sum()
        self.log("x", loss, on_step=True, on_epoch=True)
        self.log("number", 1.5 * batch_idx)
        for index in range(10):
            self.log(f"x_{index}", loss)
        self.log_dict({"y": loss, "z": 1.0})
        return loss


def compilations():
    from torch._dynamo.utils import counters

    return counters["frames"]["total"]


@pytest.mark.parametrize("part", ["module", "step", "call", "layer"])
def test_a_compiled_module_that_logs_does_not_recompile_from_step_to_step(part):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    counts = []

    class Counts(pl.Callback):
        def on_train_batch_end(self, *args):
            counts.append(compilations())

    module = Compiles()
    if part == "layer":
        module.layer = torch.compile(module.layer, backend="eager")
    elif part == "step":
        module.training_step = torch.compile(module.training_step, backend="eager")
    elif part == "call":
        module.compile(backend="eager")
    given = torch.compile(module, backend="eager") if part == "module" else module
    made = trainer(max_epochs=3, callbacks=[Counts()])
    made.fit(given, numbers(8))
    assert counts[-1] == counts[1]  # the second step may find that its index changes
    assert counts[0] > 0 or part == "call"  # which compiles `forward` alone, unused here
    assert [x for x, _ in made.logger.of("x_epoch")] == [3, 7, 11]
    assert made.logger.of("number")[-1] == (11, 4.5)
    assert "log" not in vars(module)
    torch._dynamo.reset()


@pytest.mark.parametrize("entry", ["fit", "validate", "test", "predict"])
def test_entry_points_take_a_compiled_module(entry):
    class Every(Compiles):
        def validation_step(self, batch, batch_idx):
            self.log("v", batch.mean())

        test_step = validation_step

        def predict_step(self, batch, batch_idx):
            return batch

    module, made = Every(), trainer()
    getattr(made, entry)(torch.compile(module, backend="eager"), numbers(4))
    assert made.lightning_module is module
    torch._dynamo.reset()


# --- what is let go ---------------------------------------------------------------------------


def test_batch_and_loss_die_with_their_step():
    alive = []

    class Watches(Plain):
        def training_step(self, batch, batch_idx):
            alive.append((number_alive(self.batches), number_alive(self.losses)))
            loss = self.layer(batch).sum()
            self.log("x", loss, on_epoch=True)
            self.batches.append(weakref.ref(batch))
            self.losses.append(weakref.ref(loss))
            return loss

        def validation_step(self, batch, batch_idx):
            alive.append((number_alive(self.batches), number_alive(self.losses)))
            self.log("v", batch.mean(), on_step=True)
            self.batches.append(weakref.ref(batch))

    def number_alive(references):
        return sum(reference() is not None for reference in references)

    module = Watches()
    module.batches, module.losses = [], []
    gc.disable()
    try:
        fitted(module, numbers(8), numbers(4))
    finally:
        gc.enable()
    assert len(alive) == 6
    assert max(batches for batches, _ in alive) == 0
    assert max(losses for _, losses in alive) == 0
    assert number_alive(module.batches) == number_alive(module.losses) == 0


def test_a_default_run_is_quiet_under_errors_for_deprecations():
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        fitted(Nested(), numbers(4), numbers(4))


def test_optimizers_can_be_asked_for_after_a_run():
    class Scheduled(BoringModel):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    module = Scheduled()
    with pytest.raises(RuntimeError, match="optimizers"):
        module.optimizers()
    made = trainer(max_epochs=1)
    made.fit(module)
    assert module.optimizers(use_pl_optimizer=False) is made.optimizers[0]
    assert module.lr_schedulers() is made.lr_scheduler_configs[0].scheduler


@pytest.mark.parametrize("hook", ["on_hpc_save", "on_hpc_load"])
def test_hooks_for_a_cluster_say_what_to_write(hook):
    module = BoringModel()
    setattr(module, hook, lambda checkpoint: None)
    instead = hook.replace("hpc_", "") + "_checkpoint"
    with pytest.warns(UserWarning, match=f"{hook}.* is not called: write `{instead}`"):
        trainer(max_epochs=1).fit(module)
