"""Mistakes in modules: steps, optimizers, losses, logging."""

from functools import partial

import torch
from tests.mistakes.case import Mistake, Module, fit, plain, rows, seen, spoiled, trainer

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException as Bad


def _sgd(self, **options):
    return torch.optim.SGD(self.parameters(), lr=0.1)


def _step(optimizer, kind=torch.optim.lr_scheduler.StepLR, **options):
    return {"scheduler": kind(optimizer, 1), **options}


def _configured(name, make, error, *says):
    """A module whose `configure_optimizers` returns what `make(module)` gives."""
    program = partial(fit_lazily, {"configure_optimizers": lambda self: make(self)})
    return Mistake(name, program, error, says)


def fit_lazily(methods, **options):
    """Make the module when the program runs, not when it is collected."""
    fit(spoiled(**methods), **options)


def _with_scheduler(config):
    def make(module):
        optimizer = _sgd(module)
        return {"optimizer": optimizer, "lr_scheduler": config(optimizer)}

    return make


def _foreign(optimizer):
    other = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    return torch.optim.lr_scheduler.StepLR(other, 1)


OPTIMIZERS = [
    _configured(
        *("returns a word", lambda m: "adam", Bad),
        *("configure_optimizers", "'adam'", "one optimizer"),
    ),
    _configured("returns a number", lambda m: 0.1, Bad, "configure_optimizers", "0.1", "None"),
    _configured(
        *("returns a class", lambda m: torch.optim.Adam, Bad),
        *("configure_optimizers", "Adam", "one optimizer"),
    ),
    _configured(
        *("returns parameters", lambda m: list(m.parameters()), Bad),
        *("configure_optimizers", "list", "one optimizer"),
    ),
    _configured(
        *("list with junk", lambda m: ([_sgd(m), 3], []), Bad),
        *("configure_optimizers", "number 1 is a int", "[schedulers]"),
    ),
    _configured(
        *("no 'optimizer'", lambda m: {"optimiser": _sgd(m)}, Bad),
        *("configure_optimizers", "'optimizer' is missing", "optimiser"),
    ),
    _configured(
        *("interval", _with_scheduler(lambda o: _step(o, interval="steps")), Bad),
        *("interval='steps'", "did you mean 'step'"),
    ),
    _configured(
        *("frequency", _with_scheduler(lambda o: _step(o, frequency=0)), Bad),
        *("frequency=0", "int >= 1"),
    ),
    _configured(
        *("no scheduler key", _with_scheduler(lambda o: {"interval": "step"}), Bad),
        *("{'interval': 'step'}", "no key 'scheduler'"),
    ),
    _configured(
        *("no scheduler", _with_scheduler(lambda o: {"scheduler": "cosine"}), Bad),
        *("str", "no learning rate scheduler"),
    ),
    _configured(
        *("foreign scheduler", _with_scheduler(_foreign), Bad),
        *("StepLR", "does not return", "return that optimizer"),
    ),
    _configured(
        "plateau without monitor",
        _with_scheduler(torch.optim.lr_scheduler.ReduceLROnPlateau),
        *(Bad, "ReduceLROnPlateau", '"monitor": "val_loss"'),
    ),
    _configured(
        "half the frequencies",
        lambda m: [{"optimizer": _sgd(m), "frequency": 1}, {"optimizer": _sgd(m)}],
        *(ValueError, "frequency", "give one to all"),
    ),
    _configured(
        *("frequency of an optimizer", lambda m: [{"optimizer": _sgd(m), "frequency": 0}] * 2, Bad),
        *("frequency=0", "int >= 1"),
    ),
    _configured(
        *("two optimizers", lambda m: [_sgd(m), _sgd(m)], RuntimeError),
        *("2 optimizers", "optimizer_idx", "automatic_optimization = False"),
    ),
]


def _takes_index(self, batch, batch_idx, optimizer_idx):
    return self.layer(batch).mean()


class Manual(Module):
    """Steps by itself."""

    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        seen.steps += 1


class ManualOfTwo(Manual):
    def training_step(self, batch, batch_idx, optimizer_idx):
        seen.steps += 1

    def configure_optimizers(self):
        return [_sgd(self), _sgd(self)]


MANUAL = [
    Mistake(
        *("manual, clipping", lambda: fit(Manual(), gradient_clip_val=0.5), Bad),
        ("gradient_clip_val=0.5", "manual optimization", "self.clip_gradients"),
    ),
    Mistake(
        *("manual, accumulation", lambda: fit(Manual(), accumulate_grad_batches=3), Bad),
        ("accumulate_grad_batches=3", "manual optimization", "yourself"),
    ),
    Mistake(
        *("manual, optimizer_idx", lambda: fit(ManualOfTwo()), ValueError),
        ("optimizer_idx", "remove the argument", "self.optimizers()"),
    ),
    Mistake(
        "manual_backward, automatic",
        lambda: fit(spoiled(training_step=lambda s, b: s.manual_backward(s.layer(b).mean()))),
        *(Bad, ("manual_backward", "automatic_optimization = False")),
        steps=1,
    ),
    Mistake(
        "closure not called",
        lambda: fit(spoiled(optimizer_step=lambda self, epoch, idx, optimizer, closure: None)),
        *(Bad, ("optimizer_step", "closure", "optimizer.step(closure=")),
        steps=1,
    ),
    Mistake(
        "closure no function",
        lambda: pl.core.optimizer.LightningOptimizer(_sgd(Module())).step(closure=3),
        *(Bad, ("closure=3", "callable")),
    ),
]


def _steps(name, step, error, *says, early=False):
    return Mistake(name, partial(fit_lazily, {"training_step": step}), error, says, not early)


LOSSES = [
    _steps(
        *("loss of many", lambda s, b: s.layer(b), Bad),
        *("training_step", "(2, 2)", "loss.mean()"),
    ),
    _steps(
        *("loss without graph", lambda s, b: s.layer(b).mean().detach(), Bad),
        *("training_step", "requires_grad", ".detach()"),
    ),
    _steps(
        *("loss is a float", lambda s, b: s.layer(b).mean().item(), Bad),
        *("training_step", "float", "tensor"),
    ),
    _steps("loss is a word", lambda s, b: "low", Bad, "training_step", "str", "None to skip"),
    _steps(
        *("no 'loss'", lambda s, b: {"los": s.layer(b).mean()}, Bad),
        *("training_step", "['los']", "'loss'"),
    ),
    _steps(
        *("'loss' is a float", lambda s, b: {"loss": 0.5}, Bad),
        *("training_step", "0.5", "tensor"),
    ),
    _steps(
        *("loss is a tuple", lambda s, b: (s.layer(b).mean(), 1, 2), Bad),
        *("training_step", "tuple", "dictionary"),
    ),
    _steps(
        *("an unknown argument", lambda self, batch, batch_idx, epoch: None, TypeError),
        *("training_step", "'epoch'", "(self, batch, batch_idx)"),
        early=True,
    ),
    _steps("no batch taken", lambda self: None, Bad, "training_step", "batch", early=True),
    _steps(
        *("hiddens", lambda self, batch, batch_idx, hiddens: None, Bad),
        *("hiddens", "automatic_optimization = False"),
        early=True,
    ),
]


def _needs_loader(self, batch, batch_idx, dataloader_idx):
    return None


def _validate(module, *loaders):
    trainer().validate(module, list(loaders))


STEPS = [
    Mistake(
        *("no training_step", lambda: fit(spoiled(training_step=None)), Bad),
        ("training_step", "`Model`", "define"),
    ),
    Mistake(
        *("no configure_optimizers", lambda: fit(spoiled(configure_optimizers=None)), Bad),
        ("configure_optimizers", "may return None"),
    ),
    Mistake(
        "no test_step",
        lambda: trainer().test(spoiled(test_step=None), plain()),
        *(Bad, ("Trainer.test", "Model.test_step")),
    ),
    Mistake(
        "no validation_step",
        lambda: trainer().validate(spoiled(validation_step=None), plain()),
        *(Bad, ("Trainer.validate", "Model.validation_step")),
    ),
    Mistake(
        "a misspelled training_step",
        lambda: fit(spoiled(training_step=None, traning_step=_needs_loader)),
        *(Bad, ("training_step", "`traning_step` misspelled")),
    ),
    Mistake(
        "a misspelled configure_optimizers",
        lambda: fit(spoiled(configure_optimizers=None, configure_optimizer=_sgd)),
        *(Bad, ("configure_optimizers", "`configure_optimizer` misspelled")),
    ),
    Mistake(
        "validation_step without a batch",
        lambda: _validate(spoiled(validation_step=lambda self: None), plain()),
        *(Bad, ("validation_step", "must take the batch")),
    ),
    Mistake(
        "validation_step of an unknown argument",
        lambda: _validate(spoiled(validation_step=lambda self, a, b, c, epoch: None), plain()),
        *(TypeError, ("validation_step", "'epoch'", "dataloader_idx=0")),
    ),
    Mistake(
        "callbacks that are none",
        lambda: fit(spoiled(configure_callbacks=lambda self: ["bar"])),
        *(TypeError, ("Model.configure_callbacks", "'bar'", "Callback")),
    ),
    Mistake(
        "nothing to predict with",
        lambda: trainer().predict(spoiled(forward=None), plain()),
        *(Bad, ("Trainer.predict", "predict_step", "forward")),
    ),
    Mistake(
        "one loader, index wanted",
        lambda: _validate(spoiled(validation_step=_needs_loader), plain()),
        *(RuntimeError, ("validation_step", "one loader", "dataloader_idx=0")),
    ),
    Mistake(
        "two loaders, no index",
        lambda: _validate(Module(), plain(), plain()),
        *(RuntimeError, ("validation_step", "2 loaders", "dataloader_idx")),
    ),
    Mistake(
        "sharded and not",
        lambda: fit(
            spoiled(configure_model=lambda self: None, configure_sharded_model=lambda self: None)
        ),
        *(RuntimeError, ("configure_model", "configure_sharded_model", "keep the first")),
    ),
    Mistake(
        "arguments nobody takes",
        lambda: pl.LightningModule(width=3),
        *(TypeError, ("__init__", "'width'")),
    ),
    Mistake(
        *("unattached trainer", lambda: Module().trainer, RuntimeError),
        ("Module", "not attached", "trainer.fit"),
    ),
]


def _logs(name, log, error, *says, hook="training_step", steps=1):
    def logging(self, *args):
        log(self)
        return self.layer(args[0]).mean() if hook == "training_step" else None

    program = partial(fit_lazily, {hook: logging})
    return Mistake(f"log {name}", program, error, says, steps)


LOGGING = [
    _logs("a word", lambda s: s.log("x", "high"), ValueError, "'x'", "'high'", "number"),
    _logs("None", lambda s: s.log("x", None), ValueError, "'x'", "NoneType", "number"),
    _logs("a list", lambda s: s.log("x", [1.0]), ValueError, "'x'", "list", "number"),
    _logs("a dict", lambda s: s.log("x", {"a": 1.0}), ValueError, "'x'", "mapping", "log_dict"),
    _logs("many", lambda s: s.log("x", torch.ones(3)), ValueError, "'x'", "(3,)", "mean()"),
    _logs("no name", lambda s: s.log(3, 1.0), TypeError, "3", "string"),
    _logs(
        *("never", lambda s: s.log("x", 1.0, on_step=False, on_epoch=False), Bad),
        *("'x'", "on_step=False, on_epoch=False", "set one"),
    ),
    _logs(
        *("reduced", lambda s: s.log("x", 1.0, on_epoch=True, reduce_fx="median"), Bad),
        *("reduce_fx='median'", "'mean'", "torchmetrics"),
    ),
    _logs(
        *("suffix", lambda s: s.log("x/dataloader_idx_1", 1.0), Bad),
        *("x/dataloader_idx_1", "add_dataloader_idx=False"),
    ),
    _logs(
        "twice",
        lambda s: (s.log("x", 1.0, prog_bar=True), s.log("x", 1.0)),
        *(Bad, "'x'", "training_step", "another name"),
    ),
    _logs(
        *("in on_fit_start", lambda s: s.log("x", 1.0), Bad, "'x'", "on_fit_start", "in a step"),
        hook="on_fit_start",
        steps=0,
    ),
    _logs(
        *("in on_train_end", lambda s: s.log("x", 1.0), Bad, "'x'", "on_train_end", "in a step"),
        hook="on_train_end",
        steps=4,
    ),
    _logs(
        *("in configure_optimizers", lambda s: s.log("x", 1.0), Bad),
        *("'x'", "configure_optimizers", "in a step"),
        hook="configure_optimizers",
        steps=0,
    ),
    _logs(
        *("a step at an epoch's end", lambda s: s.log("x", 1.0, on_step=True), Bad),
        *("'x'", "on_step=True", "on_train_epoch_end", "on_epoch=True"),
        hook="on_train_epoch_end",
        steps=4,
    ),
    _logs(
        *("a mapping of mappings", lambda s: s.log_dict({"x": {"a": 1.0}}), ValueError),
        *("'x'", "mapping"),
    ),
]


class Valued(pl.LightningModule):
    def __init__(self, width=4):
        super().__init__()
        self.save_hyperparameters()


class ValuedData(pl.LightningDataModule):
    def __init__(self, width=8):
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self):
        return rows()


class Sized(Module):
    def __init__(self):
        super().__init__()
        self.save_hyperparameters({"width": 4})


class Asking(pl.LightningModule):
    def __init__(self, width):
        super().__init__()
        self.save_hyperparameters("widht")


HPARAMS = [
    Mistake(
        "two values of one name",
        lambda: trainer().fit(Sized(), datamodule=ValuedData()),
        *(RuntimeError, ("'width'", "4", "8", "same value")),
    ),
    Mistake(
        *("misspelled hyperparameter", lambda: Asking(3), Bad),
        ("'widht'", "did you mean 'width'"),
    ),
]

MISTAKES = [*OPTIMIZERS, *MANUAL, *LOSSES, *STEPS, *LOGGING, *HPARAMS]
