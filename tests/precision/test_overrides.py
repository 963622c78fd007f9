"""A subclass that overrides any one documented method is really used, whoever drives the loop."""

import pytest
import torch

from pytorch_lightning import Trainer
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.fabric import Fabric
from pytorch_lightning.plugins import DoublePrecision, MixedPrecision, Precision

EVERYWHERE = (
    "connect",
    "convert_module",
    "convert_input",
    "convert_output",
    "tensor_init_context",
    "module_init_context",
    "forward_context",
    "pre_backward",
    "backward",
    "post_backward",
    "optimizer_step",
    "unscale_gradients",
    "clip_grad_by_value",
    "clip_grad_by_norm",
    "main_params",
)
IN_A_TRAINER = (
    "train_step_context",
    "val_step_context",
    "test_step_context",
    "predict_step_context",
    "clip_gradients",
    "state_dict",
    "load_state_dict",
    "on_save_checkpoint",
    "on_load_checkpoint",
    "teardown",
)


def overriding(name, kind=Precision):
    """A precision that overrides one method, and counts its calls."""

    def method(self, *args, **kwargs):
        self.calls += 1
        found = getattr(kind, name)(self, *args, **kwargs)
        return {"something": 1} if name == "state_dict" else found

    return type("Mine", (kind,), {"calls": 0, name: method})


class Model(BoringModel):
    def configure_model(self):
        if not hasattr(self, "late"):
            self.late = torch.nn.Linear(2, 2)

    def predict_step(self, batch, batch_idx):
        return self(batch)


class Manual(Model):
    def __init__(self, algorithm):
        super().__init__()
        self.automatic_optimization = False
        self.algorithm = algorithm

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        loss = self(batch).mean()
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(optimizer, 0.1, self.algorithm)
        optimizer.step()


def quiet(precision, folder, **options):
    return Trainer(
        plugins=precision,
        max_epochs=1,
        limit_train_batches=1,
        limit_val_batches=1,
        limit_test_batches=1,
        limit_predict_batches=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        **options,
    )


@pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
@pytest.mark.parametrize("name", [*EVERYWHERE, *IN_A_TRAINER])
def test_a_trainer_uses_it(name, manual, tmp_path):
    precision = overriding(name)()
    algorithm = "value" if name == "clip_grad_by_value" else "norm"
    clipping = {"gradient_clip_val": 0.1, "gradient_clip_algorithm": algorithm}
    model = Manual(algorithm) if manual else Model()
    trainer = quiet(precision, tmp_path, **({} if manual else clipping))
    trainer.fit(model)
    if name.startswith("test"):
        trainer.test(model, verbose=False)
    if name.startswith("predict"):
        trainer.predict(model)
    if name.endswith(("checkpoint", "state_dict")):
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        trainer.fit(model, ckpt_path=tmp_path / "a.ckpt")
    if name == "load_state_dict":  # only what was saved is given back
        assert precision.calls == 0
        saving = quiet(type("Mine", (overriding("state_dict"),), {})(), tmp_path)
        saving.fit(model)
        saving.save_checkpoint(tmp_path / "b.ckpt")
        trainer.fit(model, ckpt_path=tmp_path / "b.ckpt")
    assert precision.calls > 0


@pytest.mark.parametrize("name", EVERYWHERE)
def test_fabric_uses_it(name):
    precision = overriding(name)()
    fabric = Fabric(plugins=precision)
    with fabric.init_module():
        model = torch.nn.Linear(4, 2)
    with fabric.init_tensor():
        batch = torch.ones(3, 4)
    model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), 0.1))
    fabric.backward(model(batch).sum())
    if name == "clip_grad_by_value":
        fabric.clip_gradients(model, optimizer, clip_val=0.1)
    else:
        fabric.clip_gradients(model, optimizer, max_norm=0.1)
    optimizer.step()
    assert precision.calls > 0


@pytest.mark.parametrize("name", [*EVERYWHERE, *IN_A_TRAINER])
def test_a_subclass_of_mixed_precision_is_used_alike(name, tmp_path):
    precision = overriding(name, MixedPrecision)("16-mixed", "cpu")
    algorithm = "value" if name == "clip_grad_by_value" else "norm"
    trainer = quiet(precision, tmp_path, gradient_clip_val=0.1, gradient_clip_algorithm=algorithm)
    model = Model()
    trainer.fit(model)
    if name.startswith(("test", "predict")):
        trainer.test(model, verbose=False)
        trainer.predict(model)
    if name.endswith("checkpoint") or name == "load_state_dict":
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        trainer.fit_loop.max_epochs = 2
        trainer.fit(model, ckpt_path=tmp_path / "a.ckpt")
    if name == "state_dict":
        trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert precision.calls > 0


def test_what_an_override_returns_is_what_the_steps_see(tmp_path):
    class Doubled(Precision):
        def convert_input(self, data):
            return data * 0 + 2

        def convert_output(self, data):
            return {"loss": data["loss"], "seen": "by precision"}

    seen = []

    class Watching(BoringModel):
        def training_step(self, batch, batch_idx):
            seen.append(batch.unique().tolist())
            return super().training_step(batch, batch_idx)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            seen.append(outputs["seen"])

        def validation_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx)

    quiet(Doubled(), tmp_path).fit(Watching())
    assert seen == [[2.0], "by precision"]


def test_results_keep_the_type_that_was_computed(tmp_path):
    found = quiet(MixedPrecision("bf16-mixed", "cpu"), tmp_path).predict(Model())
    assert found[0].dtype == torch.bfloat16


def test_new_layers_of_configure_model_have_the_precision(tmp_path):
    trainer = quiet(DoublePrecision(), tmp_path)
    types = []

    class Late(BoringModel):
        def configure_model(self):
            types.append(torch.nn.Linear(2, 2).weight.dtype)

    trainer.fit(Late())
    assert types == [torch.float64]
