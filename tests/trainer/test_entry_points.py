"""fit, validate, test, predict: arguments, return values, and where they start from."""

import os

import pytest
import torch
from tests.trainer.watched import Numbers, Watched, WithLoaders, numbers, quiet
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def test_fit_takes_its_arguments_by_name_and_by_position():
    module = Watched()
    assert (
        quiet().fit(model=module, train_dataloaders=numbers(8), val_dataloaders=numbers(4)) is None
    )
    by_name, module.seen = module.seen, []
    quiet().fit(module, numbers(8), numbers(4))
    assert module.seen == by_name
    assert (module.count("train"), module.count("val")) == (4, 2)


def test_fit_takes_a_datamodule_in_the_place_of_loaders():
    for call in (lambda t, m, d: t.fit(m, d), lambda t, m, d: t.fit(m, datamodule=d)):
        module, data, trainer = Watched(), Numbers(), quiet()
        call(trainer, module, data)
        assert trainer.datamodule is data
        assert data.trainer is trainer
        assert (module.count("train"), module.count("val")) == (4, 2)


def test_every_verb_takes_a_datamodule_as_second_argument():
    module, data = Watched(), Numbers()
    assert quiet().validate(module, data, verbose=False) == [{"val_mean": 1.5}]
    assert quiet().test(module, data, verbose=False) == [{"test_mean": 11.5}]
    assert torch.cat(quiet().predict(module, data)).tolist() == [20, 21, 22, 23]


@pytest.mark.parametrize(
    "call",
    [
        lambda t, m, d: t.fit(m, numbers(), datamodule=d),
        lambda t, m, d: t.fit(m, val_dataloaders=numbers(), datamodule=d),
        lambda t, m, d: t.validate(m, numbers(), datamodule=d),
        lambda t, m, d: t.test(m, numbers(), datamodule=d),
        lambda t, m, d: t.predict(m, numbers(), datamodule=d),
    ],
    ids=["fit", "fit with validation", "validate", "test", "predict"],
)
def test_loaders_and_a_datamodule_together_are_refused(call):
    with pytest.raises(MisconfigurationException, match="both given"):
        call(quiet(), Watched(), Numbers())


@pytest.mark.parametrize(("verb", "start"), [("validate", 0), ("test", 10)])
def test_evaluation_returns_numbers_for_each_loader(verb, start):
    trainer, module = quiet(), WithLoaders()
    metric = "val_mean" if verb == "validate" else "test_mean"
    [result] = getattr(trainer, verb)(module, verbose=False)
    assert result == {metric: start + 1.5}
    assert type(result[metric]) is float
    several = getattr(trainer, verb)(module, [numbers(4), numbers(6)], verbose=False)
    assert several == [
        {f"{metric}/dataloader_idx_0": 1.5},
        {f"{metric}/dataloader_idx_1": 2.5},
    ]


def test_validate_and_test_print_a_table_unless_told_not_to(capsys):
    quiet().validate(WithLoaders())
    assert "val_mean" in capsys.readouterr().out
    quiet().validate(WithLoaders(), verbose=False)
    quiet().test(WithLoaders(), verbose=False)
    assert capsys.readouterr().out == ""


def test_predict_returns_a_list_of_batches_or_one_list_per_loader():
    module = Watched()
    flat = quiet().predict(module, numbers(4))
    assert [batch.tolist() for batch in flat] == [[0, 1], [2, 3]]
    nested = quiet().predict(module, [numbers(4), numbers(2, start=5)])
    assert [[batch.tolist() for batch in loader] for loader in nested] == [
        [[0, 1], [2, 3]],
        [[5, 6]],
    ]
    assert quiet().predict(module, numbers(4), return_predictions=False) is None
    assert quiet(limit_predict_batches=0).predict(module, numbers(4)) is None


def test_predict_calls_forward_with_the_whole_batch_by_default():
    class Forward(pl.LightningModule):
        def forward(self, batch):
            return type(batch).__name__, len(batch)

    pairs = DataLoader([(torch.ones(1), torch.ones(1))] * 2, batch_size=2)
    assert quiet().predict(Forward(), pairs) == [("list", 2)]


def test_predictions_are_detached_and_plain_tensors_of_the_cpu():
    class Scaled(Watched):
        def predict_step(self, batch, batch_idx):
            return {"scaled": self(batch), "index": batch_idx}

    [found] = quiet(inference_mode=False).predict(Scaled(), numbers(2))
    assert found["index"] == 0
    assert found["scaled"].device == torch.device("cpu")
    assert not found["scaled"].requires_grad


def test_verbs_without_a_model_use_that_of_the_run_before():
    trainer, module = quiet(), WithLoaders()
    for verb in ("validate", "test", "predict"):
        with pytest.raises(TypeError, match=rf"Trainer\.{verb}\(\).*model"):
            getattr(trainer, verb)()
    trainer.fit(module)
    assert trainer.validate(verbose=False) == [{"val_mean": 1.5}]
    assert trainer.test(verbose=False) == [{"test_mean": 11.5}]
    assert torch.cat(trainer.predict()).tolist() == [20, 21, 22, 23]
    assert trainer.lightning_module is module


@pytest.mark.parametrize("wrong", [torch.nn.Linear(1, 1), Watched, "model", None])
def test_what_is_no_module_is_named(wrong):
    with pytest.raises(TypeError, match="LightningModule|is a class"):
        quiet().fit(wrong, numbers())


def test_a_compiled_module_is_unwrapped():
    module = Watched()
    trainer = quiet(fast_dev_run=True)
    trainer.fit(torch.compile(module, backend="eager"), numbers())
    assert trainer.lightning_module is module
    assert module.count("train") == 1


# --- the data of the run before -----------------------------------------------------------------


def test_the_datamodule_of_fit_serves_the_runs_that_follow():
    trainer, module, data = quiet(), Watched(), Numbers()
    trainer.fit(module, datamodule=data)
    assert trainer.test(verbose=False) == [{"test_mean": 11.5}]
    assert trainer.validate(module, verbose=False) == [{"val_mean": 1.5}]
    assert torch.cat(trainer.predict()).tolist() == [20, 21, 22, 23]
    assert data.seen.count("setup test") == 1


def test_loaders_of_the_module_come_before_the_datamodule_of_the_run_before():
    trainer = quiet()
    trainer.fit(Watched(), datamodule=Numbers())
    own = WithLoaders()
    own.test_dataloader = lambda: numbers(2, start=100)
    assert trainer.test(own, verbose=False) == [{"test_mean": 100.5}]


def test_given_loaders_come_before_the_datamodule_of_the_run_before():
    trainer, module = quiet(), Watched()
    trainer.fit(module, datamodule=Numbers())
    assert trainer.test(module, numbers(2), verbose=False) == [{"test_mean": 0.5}]


def test_loaders_that_were_given_are_not_remembered():
    trainer, module = quiet(), Watched()
    trainer.fit(module, numbers(), numbers())
    with pytest.raises(MisconfigurationException, match="`Trainer.validate` found no data"):
        trainer.validate(module)


def test_a_new_fit_forgets_the_datamodule_of_the_one_before():
    trainer = quiet()
    trainer.fit(Watched(), datamodule=Numbers())
    trainer.fit_loop.max_epochs = 2
    trainer.fit(Watched(), numbers())
    assert trainer.datamodule is None


def test_stand_alone_evaluation_leaves_the_counters_of_fit_alone():
    trainer, module = quiet(max_epochs=2), WithLoaders()
    trainer.fit(module)
    before = trainer.current_epoch, trainer.global_step
    trainer.validate(module, verbose=False)
    trainer.test(module, verbose=False)
    trainer.predict(module)
    assert (trainer.current_epoch, trainer.global_step) == before == (2, 8)


# --- ckpt_path ----------------------------------------------------------------------------------


def saving(tmp_path, **options):
    callback = ModelCheckpoint(dirpath=tmp_path, **options)
    return quiet(enable_checkpointing=True, callbacks=[callback]), callback


def weight(module):
    return module.layer.weight.detach().clone()


def test_a_path_is_loaded_by_every_verb(tmp_path):
    trainer, module = quiet(), WithLoaders()
    trainer.fit(module)
    saved = weight(module)
    for path in (tmp_path / "a.ckpt", str(tmp_path / "b.ckpt")):
        trainer.save_checkpoint(path)
        for verb in ("validate", "test", "predict"):
            other = WithLoaders()
            arguments = {} if verb == "predict" else {"verbose": False}
            getattr(quiet(), verb)(other, ckpt_path=path, **arguments)
            assert torch.equal(weight(other), saved)
        resumed = WithLoaders()
        again = quiet(max_epochs=2)
        again.fit(resumed, ckpt_path=path)
        assert again.global_step == 8
        assert ("train", 0, 0) not in resumed.seen


def test_best_is_that_of_the_first_checkpoint_callback(tmp_path):
    trainer, callback = saving(tmp_path)
    module = WithLoaders()
    trainer.fit(module)
    best = weight(module)
    with torch.no_grad():
        module.layer.weight.zero_()
    trainer.test(module, verbose=False)
    assert torch.equal(weight(module), torch.zeros(1, 2))  # those in memory
    trainer.test(module, ckpt_path="best", verbose=False)
    assert torch.equal(weight(module), best)
    assert trainer.ckpt_path is None  # only for that run
    second = ModelCheckpoint(dirpath=tmp_path / "second")
    trainer.callbacks.append(second)
    with pytest.warns(UserWarning, match="first one"):
        trainer.validate(module, ckpt_path="best", verbose=False)


def test_best_without_any_checkpoint_is_an_error(tmp_path):
    trainer, _ = saving(tmp_path)
    with pytest.raises(ValueError, match="best"):
        trainer.test(WithLoaders(), ckpt_path="best")


def test_without_a_model_the_best_is_loaded_unasked(tmp_path):
    trainer, _ = saving(tmp_path)
    module = WithLoaders()
    trainer.fit(module)
    best = weight(module)
    for verb in ("validate", "test", "predict"):
        with torch.no_grad():
            module.layer.weight.zero_()
        with pytest.warns(UserWarning, match="best checkpoint"):
            getattr(trainer, verb)()
        assert torch.equal(weight(module), best)


def test_last_is_the_file_of_that_name_whose_run_had_come_farthest(tmp_path):
    trainer, _ = saving(tmp_path, save_last=True)
    trainer.fit(WithLoaders())
    (tmp_path / "last.ckpt").rename(tmp_path / "last-v1.ckpt")
    trainer.fit_loop.max_epochs = 2
    trainer.fit(WithLoaders(), ckpt_path=tmp_path / "last-v1.ckpt")
    os.utime(tmp_path / "last-v1.ckpt", (2, 2))
    os.utime(tmp_path / "last.ckpt", (1, 1))
    again, _ = saving(tmp_path)
    again.fit_loop.max_epochs = 3
    seen = []
    again.strategy.load_checkpoint, load = (
        lambda path, **options: seen.append(str(path)) or load(path, **options),
        again.strategy.load_checkpoint,
    )
    again.fit(WithLoaders(), ckpt_path="last")
    assert seen == [str(tmp_path / "last.ckpt")]
    assert again.global_step == 12


def test_last_without_a_file_starts_from_scratch_with_a_warning(tmp_path):
    trainer, _ = saving(tmp_path)
    with pytest.warns(UserWarning, match="last"):
        trainer.fit(WithLoaders(), ckpt_path="last")
    assert trainer.global_step == 4


def test_hpc_is_the_newest_of_its_numbers(tmp_path):
    trainer = quiet(default_root_dir=tmp_path)
    trainer.fit(WithLoaders())
    trainer.save_checkpoint(tmp_path / "hpc_ckpt_2.ckpt")
    trainer.fit_loop.max_epochs = 2
    trainer.fit(WithLoaders())
    trainer.save_checkpoint(tmp_path / "hpc_ckpt_10.ckpt")
    again = quiet(default_root_dir=tmp_path, max_epochs=3)
    again.fit(WithLoaders(), ckpt_path="hpc")
    assert again.global_step == 12
    with pytest.raises(MisconfigurationException, match="hpc_ckpt"):
        quiet(default_root_dir=tmp_path / "empty").fit(WithLoaders(), ckpt_path="hpc")


def test_a_checkpoint_path_of_the_trainer_holds_for_all_that_follow(tmp_path):
    first = quiet()
    module = WithLoaders()
    first.fit(module)
    first.save_checkpoint(tmp_path / "a.ckpt")
    trainer = quiet()
    trainer.ckpt_path = tmp_path / "a.ckpt"
    for verb in ("validate", "test"):
        other = WithLoaders()
        getattr(trainer, verb)(other, verbose=False)
        assert torch.equal(weight(other), weight(module))
    assert str(trainer.ckpt_path) == str(tmp_path / "a.ckpt")


def test_a_run_that_failed_goes_on_from_what_it_left(tmp_path):
    class Fails(WithLoaders):
        def training_step(self, batch, batch_idx):
            if batch_idx == 2:
                raise RuntimeError("broken")
            return super().training_step(batch, batch_idx)

    def trainer():
        keeper = OnExceptionCheckpoint(tmp_path)
        return quiet(enable_checkpointing=True, callbacks=[keeper])

    with pytest.raises(RuntimeError, match="broken"):
        trainer().fit(Fails())
    mended = WithLoaders()
    trainer().fit(mended)
    assert [entry for entry in mended.seen if entry[0] == "train"] == [
        ("train", 0, 2),
        ("train", 0, 3),
    ]


def test_a_file_of_weights_alone_cannot_be_trained_further(tmp_path):
    trainer, module = quiet(), WithLoaders()
    trainer.fit(module)
    trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    with pytest.raises(KeyError, match="weights"):
        quiet(max_epochs=2).fit(WithLoaders(), ckpt_path=tmp_path / "weights.ckpt")
    other = WithLoaders()
    quiet().test(other, ckpt_path=tmp_path / "weights.ckpt", verbose=False)
    assert torch.equal(weight(other), weight(module))


def test_a_file_behind_the_limit_is_refused_and_one_at_it_is_done(tmp_path):
    trainer = quiet(max_epochs=2)
    trainer.fit(WithLoaders())
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    with pytest.raises(MisconfigurationException, match="max_epochs=1"):
        quiet(max_epochs=1).fit(WithLoaders(), ckpt_path=tmp_path / "two.ckpt")
    module = WithLoaders()
    quiet(max_epochs=2).fit(module, ckpt_path=tmp_path / "two.ckpt")
    assert module.seen == []


def test_evaluation_from_a_file_keeps_the_counters_of_the_trainer(tmp_path):
    trainer = quiet()
    trainer.fit(WithLoaders())
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    fresh = quiet()
    fresh.test(WithLoaders(), ckpt_path=tmp_path / "one.ckpt", verbose=False)
    assert (fresh.current_epoch, fresh.global_step) == (0, 0)


# --- the other verbs ----------------------------------------------------------------------------


def test_save_checkpoint_needs_a_module_and_writes_one_file(tmp_path):
    trainer = quiet()
    with pytest.raises(AttributeError, match="save_checkpoint"):
        trainer.save_checkpoint(tmp_path / "none.ckpt")
    trainer.fit(WithLoaders())
    assert trainer.save_checkpoint(tmp_path / "deep" / "full.ckpt") is None
    trainer.save_checkpoint(tmp_path / "weights.ckpt", weights_only=True)
    full = torch.load(tmp_path / "deep" / "full.ckpt", weights_only=True)
    weights = torch.load(tmp_path / "weights.ckpt", weights_only=True)
    assert full["global_step"] == weights["global_step"] == 4
    assert set(full) - set(weights) == {"callbacks", "optimizer_states", "lr_schedulers"}


def test_init_module_makes_parameters_in_the_type_of_the_run():
    with quiet(precision="64-true").init_module():
        assert torch.nn.Linear(1, 1).weight.dtype == torch.float64
    assert torch.nn.Linear(1, 1).weight.dtype == torch.float32


def test_print_prints_once(capsys, monkeypatch):
    trainer = quiet()
    trainer.print("hello", 3, sep="-")
    assert capsys.readouterr().out == "hello-3\n"
    monkeypatch.setattr(type(trainer.strategy), "local_rank", property(lambda strategy: 1))
    trainer.print("silent")
    assert capsys.readouterr().out == ""


# --- a second fit -------------------------------------------------------------------------------


def test_a_second_fit_has_nothing_left_to_do_and_says_so():
    trainer, module = quiet(), WithLoaders()
    trainer.fit(module)
    with pytest.warns(UserWarning, match="nothing is left to do"):
        trainer.fit(module)
    assert module.count("train") == 4


def test_raising_max_epochs_of_the_loop_trains_on():
    trainer, module = quiet(), WithLoaders()
    trainer.fit(module)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module)
    assert trainer.max_epochs == 3
    assert (trainer.current_epoch, trainer.global_step) == (3, 12)
    assert [entry[1:] for entry in module.seen if entry[0] == "train"] == [
        (epoch, batch) for epoch in range(3) for batch in range(4)
    ]


@pytest.mark.parametrize("loop", ["fit_loop", "epoch_loop"])
def test_raising_max_steps_of_a_loop_trains_on(loop):
    trainer, module = quiet(max_steps=2, limit_val_batches=0), WithLoaders()
    trainer.fit(module)
    where = trainer.fit_loop if loop == "fit_loop" else trainer.fit_loop.epoch_loop
    where.max_steps = 3
    trainer.fit_loop.max_epochs = 9
    trainer.fit(module)
    assert (trainer.global_step, trainer.max_steps) == (3, 3)


def test_a_wish_to_stop_before_fit_is_forgotten():
    trainer, module = quiet(), WithLoaders()
    trainer.should_stop = True
    trainer.fit(module)
    assert trainer.global_step == 4
