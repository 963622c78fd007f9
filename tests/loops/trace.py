"""A recorder of every documented hook, and the scenarios whose traces are kept in `golden/`.

In one of several processes each of them has as many batches, and the trace is to be the same.
"""

import os
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


def stages(*names):
    """Names with '{}' spelled out for the three evaluation stages."""
    return [name.format(s) for s in ("validation", "test", "predict") for name in names]


SHARED = [
    *("setup", "teardown", "on_fit_start", "on_fit_end", "on_train_start", "on_train_end"),
    *("on_train_epoch_start", "on_train_epoch_end", "on_train_batch_start", "on_train_batch_end"),
    *("on_before_zero_grad", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_save_checkpoint", "on_load_checkpoint"),
    *stages("on_{}_start", "on_{}_end", "on_{}_epoch_start", "on_{}_epoch_end"),
    *stages("on_{}_batch_start", "on_{}_batch_end"),
]
CALLBACK = [
    *(*SHARED, "on_sanity_check_start", "on_sanity_check_end", "on_exception"),
    *("state_dict", "load_state_dict"),
]
TRANSFER = ["on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer"]
MODULE = [
    *(*SHARED, *TRANSFER, "prepare_data", "configure_callbacks", "configure_model"),
    *("optimizer_step", "optimizer_zero_grad", "backward", "lr_scheduler_step"),
    *("configure_gradient_clipping", "clip_gradients", "on_validation_model_zero_grad"),
    *stages("on_{}_model_eval"),
    *("on_validation_model_train", "on_test_model_train"),
]
DATAMODULE = [
    *("prepare_data", "setup", "teardown", "on_exception", "state_dict", "load_state_dict"),
    *TRANSFER,
]
OLD_SHARED = [
    *("on_epoch_start", "on_epoch_end", "on_pretrain_routine_start", "on_pretrain_routine_end"),
]
OLD_CALLBACK = [*OLD_SHARED, "on_batch_start", "on_batch_end", "on_init_start", "on_init_end"]
OLD_CALLBACK += ["on_before_accelerator_backend_setup", "on_configure_sharded_model"]
SAVE = ("state_dict", "on_save_checkpoint")
ANSWERS = {"state_dict": {"kept": 1}, "configure_callbacks": [], "on_save_checkpoint": None}


def recording(cls, label, names, events):
    """A subclass that appends each call of the named methods to `events` and passes it on."""

    def record(name):
        def method(self, *args, **kwargs):
            events.append(f"{label}.{name}")
            if name in ANSWERS:
                return ANSWERS[name]
            above = getattr(super(recorder, self), name, None)
            return above(*args, **kwargs) if above is not None else None

        return method

    recorder = type(cls.__name__, (cls,), {name: record(name) for name in names})
    return recorder


def loader(num_batches):
    """Batches of two samples, so many for each process."""
    return DataLoader(TensorDataset(torch.ones(2 * num_batches * ranks(), 4)), batch_size=2)


def ranks():
    """How many processes run this together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def module_class(events):
    """A module whose steps are recorded too."""

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

        def step(self, name, batch):
            events.append(f"LM.{name}")
            return self.layer(batch[0]).mean()

        def training_step(self, batch, batch_idx):
            return self.step("training_step", batch)

        def validation_step(self, batch, batch_idx):
            return self.step("validation_step", batch)

        def test_step(self, batch, batch_idx):
            return self.step("test_step", batch)

        def predict_step(self, batch, batch_idx):
            return self.step("predict_step", batch)

        def configure_optimizers(self):
            events.append("LM.configure_optimizers")
            optimizer = torch.optim.SGD(self.parameters(), 0.1)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    return Module


def datamodule_class(events, sizes):
    """A datamodule with loaders of so many batches for each stage."""

    class Data(pl.LightningDataModule):
        pass

    def load(stage):
        def method(self):
            events.append(f"DM.{stage}_dataloader")
            return loader(sizes.get(stage, 2))

        return method

    for stage in ("train", "val", "test", "predict"):
        setattr(Data, f"{stage}_dataloader", load(stage))
    return Data


class Recorder:
    """Everything that a scenario is made of, ready to be changed before it runs."""

    def __init__(self, folder, **sizes):
        self.events = []
        self.folder = Path(folder)
        self.module = recording(module_class(self.events), "LM", MODULE, self.events)
        self.data = recording(datamodule_class(self.events, sizes), "DM", DATAMODULE, self.events)
        self.callback = recording(pl.Callback, "CB", CALLBACK, self.events)

    def run(self, verb="fit", *callbacks, ckpt_path=None, **options):
        """Run one entry point of a quiet trainer; the events."""
        trainer = pl.Trainer(
            default_root_dir=self.folder,
            logger=False,
            accelerator="cpu",
            devices=ranks(),
            strategy="ddp" if ranks() > 1 else "auto",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
            callbacks=[self.callback(), *callbacks],
            **options,
        )
        getattr(trainer, verb)(self.module(), datamodule=self.data(), ckpt_path=ckpt_path)
        return self.events


def fit(folder):
    """Two epochs, sanity check, validation, a scheduler, a file after each epoch."""
    run = Recorder(folder)
    return run.run("fit", ModelCheckpoint(folder), max_epochs=2)


def validate_often(folder):
    """Validation inside the epoch."""
    run = Recorder(folder, train=4)
    return run.run("fit", max_epochs=1, val_check_interval=2, num_sanity_val_steps=0)


def accumulate(folder):
    """Windows of two batches, the last one short, with clipping."""
    run = Recorder(folder, train=3)
    return run.run("fit", max_epochs=1, accumulate_grad_batches=2, gradient_clip_val=1.0)


def manual(folder):
    """Manual optimization."""
    run = Recorder(folder)

    class Manual(run.module):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            loss = self.step("training_step", batch)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    run.module = Manual
    return run.run("fit", max_epochs=1)


def plateau(folder):
    """Schedulers by step and on a plateau."""
    run = Recorder(folder)

    class Plateau(run.module):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", super().validation_step(batch, batch_idx))

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), 0.1)
            by_step = torch.optim.lr_scheduler.StepLR(optimizer, 1)
            waits = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return [optimizer], [
                {"scheduler": by_step, "interval": "step"},
                {"scheduler": waits, "monitor": "val_loss"},
            ]

    run.module = Plateau
    return run.run("fit", max_epochs=1, num_sanity_val_steps=0)


def evaluate(verb):
    """Validate, test or predict alone."""
    return lambda folder: Recorder(folder).run(verb)


def cut(folder):
    """-1 from `on_train_batch_start` in the first epoch."""
    run = Recorder(folder, train=3)

    class Cut(run.module):
        def on_train_batch_start(self, batch, batch_idx):
            super().on_train_batch_start(batch, batch_idx)
            return -1 if batch_idx == 1 and self.current_epoch == 0 else None

    run.module = Cut
    return run.run("fit", max_epochs=2, num_sanity_val_steps=0)


def max_steps(folder):
    """A limit of steps in the middle of the second epoch."""
    return Recorder(folder, train=3).run("fit", max_steps=4, num_sanity_val_steps=0)


def nothing(folder):
    """No epoch at all."""
    return Recorder(folder).run("fit", max_epochs=0)


def no_steps(folder):
    """No step at all."""
    return Recorder(folder).run("fit", max_steps=0)


def stop(folder):
    """Somebody asks to stop in the middle of an epoch."""
    run = Recorder(folder, train=3)

    class Stop(run.module):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            super().on_train_batch_end(outputs, batch, batch_idx)
            self.trainer.should_stop = True

    run.module = Stop
    return run.run("fit", max_epochs=2, num_sanity_val_steps=0)


def stop_too_early(folder):
    """Somebody asks to stop, but an epoch is the least."""
    run = Recorder(folder, train=3)

    class Stop(run.module):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            super().on_train_batch_end(outputs, batch, batch_idx)
            self.trainer.should_stop = True

    run.module = Stop
    return run.run("fit", max_epochs=3, min_epochs=1, num_sanity_val_steps=0)


def failure(folder):
    """An exception in a training step."""
    run = Recorder(folder)

    class Fails(run.module):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            raise RuntimeError("on purpose")

    run.module = Fails
    try:
        run.run("fit", max_epochs=1)
    except RuntimeError:
        run.events.append("RAISED")
    return run.events


def resume(folder):
    """A run taken up after its first epoch."""
    run = Recorder(folder)
    run.run("fit", ModelCheckpoint(folder, filename="kept"), max_epochs=1)
    run.events.clear()
    return run.run("fit", max_epochs=2, ckpt_path=str(Path(folder) / "kept.ckpt"))


def two_loaders(folder):
    """Two validation loaders, `reload_dataloaders_every_n_epochs`."""
    run = Recorder(folder)

    class Data(run.data):
        def val_dataloader(self):
            return [super().val_dataloader(), super().val_dataloader()]

    class Module(run.module):
        def validation_step(self, batch, batch_idx, dataloader_idx):
            return self.step(f"validation_step {dataloader_idx}", batch)

    run.data, run.module = Data, Module
    return run.run("fit", max_epochs=2, reload_dataloaders_every_n_epochs=1)


def skipped(folder):
    """`training_step` returns None for one batch; the closure alone for another."""
    run = Recorder(folder, train=3)

    class Skips(run.module):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == 1 else loss

    run.module = Skips
    return run.run("fit", max_epochs=1, num_sanity_val_steps=0, limit_val_batches=0)


def old_hooks(folder):  # noqa: C901 - one method per hook
    """The hooks of 1.x beside those of today, with signatures of their time."""
    run = Recorder(folder)
    events = run.events

    class Module(run.module):
        def training_step_end(self, output):
            events.append("LM.training_step_end")
            return output

        def validation_step_end(self, output):
            events.append("LM.validation_step_end")
            return output

        def training_epoch_end(self, outputs):
            events.append(f"LM.training_epoch_end {len(outputs)}")

        def validation_epoch_end(self, outputs):
            events.append(f"LM.validation_epoch_end {len(outputs)}")

        def on_train_batch_start(self, batch, batch_idx, unused=0):
            events.append("LM.on_train_batch_start")

        def on_before_optimizer_step(self, optimizer, optimizer_idx):
            events.append(f"LM.on_before_optimizer_step {optimizer_idx}")

        def backward(self, loss, optimizer, optimizer_idx):
            events.append(f"LM.backward {optimizer_idx}")
            loss.backward()

        def optimizer_zero_grad(self, epoch, batch_idx, optimizer, optimizer_idx):
            events.append(f"LM.optimizer_zero_grad {epoch} {batch_idx} {optimizer_idx}")
            optimizer.zero_grad()

        def optimizer_step(
            self, epoch, batch_idx, optimizer, optimizer_idx, closure, on_tpu, using_lbfgs
        ):
            events.append(f"LM.optimizer_step {epoch} {batch_idx} {optimizer_idx}")
            optimizer.step(closure=closure)

        def configure_gradient_clipping(self, optimizer, optimizer_idx, value, algorithm):
            events.append(f"LM.configure_gradient_clipping {optimizer_idx}")

        def lr_scheduler_step(self, scheduler, optimizer_idx, metric):
            events.append(f"LM.lr_scheduler_step {optimizer_idx}")
            scheduler.step()

    class Callback(run.callback):
        def on_before_optimizer_step(self, trainer, module, optimizer, optimizer_idx):
            events.append(f"CB.on_before_optimizer_step {optimizer_idx}")

        def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx):
            events.append(f"CB.on_validation_batch_start {dataloader_idx}")

    run.module = recording(Module, "LM", OLD_SHARED, events)
    run.callback = recording(Callback, "CB", OLD_CALLBACK, events)
    return run.run("fit", max_epochs=1)


def two_optimizers(folder, frequencies=None, **options):
    """Several optimizers in turn, in a module that asks which one it is."""
    run = Recorder(folder, train=3)

    class Module(run.module):
        def __init__(self):
            super().__init__()
            self.other = torch.nn.Linear(4, 1)

        def training_step(self, batch, batch_idx, optimizer_idx):
            trained = [p.requires_grad for p in (self.layer.weight, self.other.weight)]
            run.events.append(f"LM.training_step {batch_idx} {optimizer_idx} {trained}")
            return (self.layer, self.other)[optimizer_idx](batch[0]).mean()

        def on_train_batch_end(self, outputs, batch, batch_idx):
            count = len(outputs) if isinstance(outputs, list) else "alone"
            run.events.append(f"LM.on_train_batch_end {count}")

        def training_epoch_end(self, outputs):
            counts = [len(o) if isinstance(o, list) else "alone" for o in outputs]
            run.events.append(f"LM.training_epoch_end {counts}")

        def configure_optimizers(self):
            optimizers = [torch.optim.SGD(m.parameters(), 0.1) for m in (self.layer, self.other)]
            if frequencies is None:
                return optimizers
            return [
                {
                    "optimizer": optimizer,
                    "frequency": frequency,
                    "lr_scheduler": {
                        "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1),
                        "interval": "step",
                    },
                }
                for optimizer, frequency in zip(optimizers, frequencies, strict=True)
            ]

    run.module = Module
    return run.run("fit", limit_val_batches=0, **{"max_epochs": 1, **options})


OLD_SCENARIOS = {
    "old_hooks": old_hooks,
    "two_optimizers": two_optimizers,
    "two_optimizers_accumulate": lambda folder: two_optimizers(folder, accumulate_grad_batches=2),
    "frequencies": lambda folder: two_optimizers(folder, frequencies=(2, 1), max_epochs=2),
}
SCENARIOS = {
    "fit": fit,
    "validate_often": validate_often,
    "accumulate": accumulate,
    "manual": manual,
    "plateau": plateau,
    "validate": evaluate("validate"),
    "test": evaluate("test"),
    "predict": evaluate("predict"),
    "cut": cut,
    "max_steps": max_steps,
    "nothing": nothing,
    "no_steps": no_steps,
    "stop": stop,
    "stop_too_early": stop_too_early,
    "failure": failure,
    "resume": resume,
    "two_loaders": two_loaders,
    "skipped": skipped,
}


def without_saves(events):
    """The trace less what belongs to writing a file, whose place is ours."""
    return [e for e in events if not e.endswith(SAVE) or e.endswith("load_state_dict")]


if __name__ == "__main__":
    print("\n".join((SCENARIOS | OLD_SCENARIOS)[sys.argv[1]](sys.argv[2])))
