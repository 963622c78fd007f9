"""A datamodule in the runs of a trainer."""

import pytest
import torch
from tests.trainer.watched import Numbers, Watched, WithLoaders, numbers, quiet
from torch.utils.data import Subset

import pytorch_lightning as pl

VERBS = ("fit", "validate", "test", "predict")


def run(verb, module, data, **arguments):
    trainer = quiet(**arguments)
    getattr(trainer, verb)(module, datamodule=data)
    return trainer


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_prepares_and_sets_up(verb):
    data = Numbers()
    run(verb, Watched(), data)
    loaders = {"fit": ["train", "val"], "validate": ["val"]}.get(verb, [verb])
    assert data.seen[:2] == ["prepare_data", f"setup {verb}"]
    assert sorted(data.seen[2:-1]) == sorted(f"{name}_dataloader" for name in loaders)
    assert data.seen[-1] == f"teardown {verb}"


def test_setup_is_called_again_by_every_run():
    trainer, module, data = quiet(), Watched(), Numbers()
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data)
    assert data.seen.count("prepare_data") == 2
    assert [e for e in data.seen if e.startswith("setup")] == ["setup fit", "setup test"]


def test_the_stage_is_a_plain_string_by_keyword():
    class Stages(pl.LightningDataModule):
        def setup(self, *, stage=None):
            self.given = stage

        def teardown(self, stage=None):
            self.ended = f"{stage}"

        def train_dataloader(self):
            return numbers(2)

    data = Stages()
    run("fit", Watched(), data)
    assert (data.given, data.ended) == ("fit", "fit")
    assert type(data.given) is str


def test_its_loaders_replace_those_of_the_module():
    module = WithLoaders()
    module.test_dataloader = lambda: numbers(2, start=100)
    data = Numbers()
    assert quiet().test(module, datamodule=data, verbose=False) == [{"test_mean": 11.5}]


def test_prepare_data_of_the_module_runs_too():
    class Prepares(Watched):
        def prepare_data(self):
            self.note("prepared")

    module, data = Prepares(), Numbers()
    run("test", module, data)
    assert "prepared" in module.seen
    assert "prepare_data" in data.seen


@pytest.mark.parametrize("per_node", [True, False])
def test_prepare_data_runs_once_in_one_process(per_node):
    module, data = Watched(), Numbers()
    data.prepare_data_per_node = module.prepare_data_per_node = per_node
    run("fit", module, data)
    assert data.seen.count("prepare_data") == 1


HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


@pytest.mark.parametrize("hook", HOOKS)
def test_its_transfer_hooks_win_with_a_warning(hook):
    def noting(owner):
        def transfer(self, batch, *device_and_loader):
            owner.append((hook, *device_and_loader))
            return batch

        return transfer

    by_module, by_data = [], []
    module_class = type("Module", (Watched,), {hook: noting(by_module)})
    data_class = type("Data", (Numbers,), {hook: noting(by_data)})
    with pytest.warns(UserWarning, match=f"both define `{hook}`"):
        run("validate", module_class(), data_class())
    device = (torch.device("cpu"),) if hook == "transfer_batch_to_device" else ()
    assert by_data == [(hook, *device, 0)] * 2
    assert by_module == []
    run("validate", module_class(), Numbers())
    assert len(by_module) == 2


def test_transfer_hooks_are_told_the_loader():
    class Told(Watched):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            self.note("loader", dataloader_idx)
            return batch

    module = Told()
    quiet().test(module, [numbers(2), numbers(4)], verbose=False)
    assert [e[1] for e in module.seen if e[0] == "loader"] == [0, 1, 1]


class Counts(Numbers):
    """Has a state, and hooks of both releases for it."""

    def __init__(self):
        super().__init__()
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state_dict):
        self.at = state_dict["at"]

    def on_save_checkpoint(self, checkpoint):
        checkpoint["extra"] = self.at + 1

    def on_load_checkpoint(self, checkpoint):
        self.extra = checkpoint["extra"]


def test_its_state_is_saved_and_restored(tmp_path):
    data = Counts()
    data.at = 5
    trainer = run("fit", Watched(), data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert saved["Counts"] == {"at": 5}
    for verb in VERBS:
        again = Counts()
        arguments = {"max_epochs": 2} if verb == "fit" else {}
        getattr(quiet(**arguments), verb)(
            Watched(), datamodule=again, ckpt_path=tmp_path / "a.ckpt"
        )
        assert (again.at, again.extra) == (5, 6)


def test_an_empty_state_leaves_no_key(tmp_path):
    trainer = run("fit", Watched(), Numbers())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert "Numbers" not in torch.load(tmp_path / "a.ckpt", weights_only=True)


def test_its_hyperparameters_are_in_the_file(tmp_path):
    class Sized(Numbers):
        def __init__(self, width=3, path="x"):
            super().__init__()
            self.save_hyperparameters()

    trainer = run("fit", Watched(), Sized(width=7))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert saved["datamodule_hyper_parameters"] == {"width": 7, "path": "x"}
    assert saved["datamodule_hparams_name"] == "kwargs"
    loaded = Sized.load_from_checkpoint(tmp_path / "a.ckpt", path="y")
    assert (loaded.hparams.width, loaded.hparams.path) == (7, "y")
    assert loaded.hparams_initial == {"width": 7, "path": "y"}


def test_it_hears_of_exceptions():
    class Hears(Numbers):
        def on_exception(self, exception):
            self.seen.append(str(exception))

    class Fails(Watched):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("broken")

    data = Hears()
    with pytest.raises(RuntimeError, match="broken"):
        run("fit", Fails(), data)
    assert "broken" in data.seen


def test_from_datasets_in_a_run():
    rows = [torch.full((2,), float(index)) for index in range(6)]
    part = lambda start, stop: Subset(rows, range(start, stop))  # noqa: E731
    data = pl.LightningDataModule.from_datasets(
        part(0, 6), [part(0, 2), part(2, 4)], part(4, 6), part(0, 4), batch_size=2
    )
    module, trainer = Watched(), quiet()
    trainer.fit(module, datamodule=data)
    assert (module.count("train"), module.count("val")) == (3, 2)
    assert trainer.test(module, datamodule=data, verbose=False) == [{"test_mean": 4.5}]
    assert torch.cat(trainer.predict(module, datamodule=data)).tolist() == [0, 1, 2, 3]
    assert type(trainer.predict_dataloaders.sampler).__name__ == "SequentialSampler"


def test_the_trainer_is_known_in_its_hooks():
    class Knows(Numbers):
        def setup(self, stage):
            self.world = self.trainer.world_size
            self.stage = self.trainer.state.fn.value

    data = Knows()
    assert data.trainer is None
    run("fit", Watched(), data)
    assert (data.world, data.stage) == (1, "fit")


def test_a_missing_loader_is_named():
    class Only(pl.LightningDataModule):
        def train_dataloader(self):
            return numbers(2)

    with pytest.raises(Exception, match="Only.test_dataloader"):
        run("test", Watched(), Only())
    with pytest.raises(TypeError, match="returned None"):
        nothing = Numbers()
        nothing.train_dataloader = lambda: None
        run("fit", Watched(), nothing)


def test_reloading_asks_the_datamodule():
    data = Numbers()
    run("fit", Watched(), data, max_epochs=3, reload_dataloaders_every_n_epochs=1)
    assert data.seen.count("train_dataloader") == data.seen.count("val_dataloader") == 3
