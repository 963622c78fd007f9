"""Entry points of a trainer on two ranks: one after the other, with files, with datamodules."""

import os
from pathlib import Path

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


def rank():
    return int(os.environ["RANK"])


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(1, 1).double()
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch[0].flatten().tolist())
        loss = (self.layer(batch[0]) - 1).square().mean()
        self.log("train_loss", loss, sync_dist=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", (self.layer(batch[0]) - 1).square().mean(), sync_dist=True)

    def test_step(self, batch, batch_idx):
        self.log("test_loss", (self.layer(batch[0]) - 1).square().mean(), sync_dist=True)

    def predict_step(self, batch, batch_idx):
        return self.layer(batch[0]).flatten()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def numbers(size=8, **options):
    data = TensorDataset(torch.arange(float(size), dtype=torch.float64).unsqueeze(1) / size)
    return DataLoader(data, **{"batch_size": 2, **options})


def trainer(folder=".", **options):
    given = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, "devices": 2}
    given.update(options)
    given.setdefault("strategy", "ddp" if given["devices"] == 2 else "auto")
    return pl.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **given,
    )


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


CELLS = {}


def cell(work):
    CELLS[work.__name__.strip("_")] = work
    return work


def _all(folder):
    found = {}
    for name, work in CELLS.items():
        Path(folder, name).mkdir(exist_ok=True)
        found[name] = work(Path(folder, name))
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run_ranks(_all, 2, str(tmp_path_factory.mktemp("ranks")), limit=100)


@cell
def _one_trainer(folder):
    return every_verb(trainer(folder), batch_size=2)


def every_verb(run, batch_size):
    """What each entry point of one trainer gives, called one after the other."""
    model, data = Model(), numbers(batch_size=batch_size)
    run.fit(model, data, numbers(6))
    fitted = run.global_step, weights(model)
    validated = run.validate(model, numbers(6), verbose=False)
    tested = run.test(dataloaders=numbers(5), verbose=False)
    predicted = run.predict(model, numbers(6))
    again = run.predict(dataloaders=numbers(3))
    run.fit_loop.max_epochs = 3
    run.fit(model, data, numbers(6))
    return {
        "fitted": fitted,
        "evaluated": (validated, tested),
        "predicted": [p.tolist() for p in [*predicted, *again]],
        "at the end": (run.current_epoch, run.global_step, weights(model)),
        "metrics": {name: value.item() for name, value in run.callback_metrics.items()},
    }


@cell
def _with_one_device_after(folder):
    first, second, third = Model(), Model(), Model()
    trainer(folder).fit(first, numbers())
    alone = trainer(folder, devices=1)
    if rank() == 0:
        alone.fit(second, numbers(batch_size=4))
        assert alone.world_size == 1
    trainer(folder).fit(third, numbers())
    return [weights(model) for model in (first, second, third)]


@cell
def _files(folder):
    def saver():
        options = {"mode": "max", "save_last": True, "save_top_k": -1}
        return ModelCheckpoint(folder / "files", monitor="val_loss", **options)

    whole, model = Model(), Model()
    run = trainer(folder, callbacks=[saver()], enable_checkpointing=True, max_epochs=3)
    run.fit(whole, numbers(), numbers(6))
    tested = {}
    for path in ("best", "last", run.checkpoint_callback.last_model_path):
        run.test(dataloaders=numbers(6), ckpt_path=path, verbose=False)
        tested[Path(path).name] = weights(whole)
    run.fit_loop.max_epochs = 4
    run.fit(whole, numbers(), numbers(6), ckpt_path="last")
    again = trainer(folder, callbacks=[saver()], enable_checkpointing=True, max_epochs=4)
    again.fit(model, numbers(), numbers(6), ckpt_path=folder / "files" / "epoch=2-step=6.ckpt")
    return {
        "tested": tested,
        "steps": (run.global_step, again.global_step, len(model.seen)),
        "best": Path(again.checkpoint_callback.best_model_path).name,
        "weights": (weights(whole), weights(model)),
    }


class Data(pl.LightningDataModule):
    def __init__(self, per_node=True):
        super().__init__()
        self.prepare_data_per_node = per_node
        self.calls = []
        self.failed_with = None

    def prepare_data(self):
        self.calls.append("prepare_data")

    def setup(self, stage):
        self.calls.append(f"setup {stage} {self.trainer.global_rank} {self.trainer.world_size}")

    def teardown(self, stage):
        self.calls.append(f"teardown {stage}")

    def on_exception(self, exception):
        self.calls.append(f"on_exception {exception}")

    def train_dataloader(self):
        self.calls.append("train_dataloader")
        return numbers()

    def val_dataloader(self):
        return numbers(6)

    def test_dataloader(self):
        return numbers(6)

    def predict_dataloader(self):
        return numbers(6)


@cell
def _datamodule(folder):
    data, model, run = Data(), Model(), trainer(folder)
    run.fit(model, data)
    run.test(model, datamodule=data)
    run.predict()
    return data.calls


class Late(Model):
    def __init__(self):
        super().__init__()
        self.layer = None
        self.configured = 0

    def configure_model(self):
        self.configured += 1
        if self.layer is None:
            self.layer = nn.Linear(1, 1).double()  # with other random numbers on each rank


@cell
def _configure_model(folder):
    torch.manual_seed(rank())
    model = Late()
    torch.manual_seed(rank())  # as after other draws
    run = trainer(folder)
    run.fit(model, numbers())
    run.test(model, numbers())
    return model.configured, weights(model)


class Prepares(Model):
    prepare_data_per_node = False

    def __init__(self):
        super().__init__()
        self.prepared = False

    def prepare_data(self):
        self.prepared = True


@cell
def _two_machines(folder):
    names = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_RANK": str(rank())}
    before = {name: os.environ[name] for name in names}
    os.environ.update(names)
    per_node, once, model = Data(), Data(per_node=False), Prepares()
    for data in (per_node, once):
        run = trainer(folder, devices=1, num_nodes=2, strategy="ddp")
        run.validate(model, data, verbose=False)
    os.environ.update(before)
    return "prepare_data" in per_node.calls, "prepare_data" in once.calls, model.prepared


class Breaks(Model):
    def training_step(self, batch, batch_idx):
        if batch_idx == 1:
            raise ArithmeticError("on purpose")
        return super().training_step(batch, batch_idx)


class Hears(pl.Callback):
    def __init__(self):
        self.heard = []

    def on_exception(self, trainer, module, exception):
        self.heard.append(repr(exception))

    def teardown(self, trainer, module, stage):
        self.heard.append("teardown")


@cell
def _on_exception(folder):
    hears, data = Hears(), Data()
    run = trainer(folder, callbacks=[hears])
    with pytest.raises(ArithmeticError):
        run.fit(Breaks(), data)
    state = str(run.state.status)
    model = Model()
    trainer(folder).fit(model, numbers())  # the group is well
    return hears.heard, data.calls, state, len(model.seen)


class Seeds(Model):
    def __init__(self):
        super().__init__()
        pl.seed_everything(7 + rank(), verbose=False)


@cell
def _seeds(folder):
    runs = []
    for _ in range(2):
        model = Seeds()
        run = trainer(folder, max_epochs=2)
        run.fit(model, numbers(shuffle=True), numbers())
        runs.append(model.seen)
    del os.environ["PL_GLOBAL_SEED"]
    return runs, torch.initial_seed()


@cell
def _fabric_seeds(folder):
    fabric = pl.fabric.Fabric(accelerator="cpu", devices=2, strategy="ddp")
    fabric.launch()
    fabric.seed_everything(7 + rank(), verbose=False)
    loader = fabric.setup_dataloaders(numbers(shuffle=True))
    found = [[batch[0].flatten().tolist() for batch in loader] for _ in range(2)]
    del os.environ["PL_GLOBAL_SEED"]
    return found


def test_every_verb_gives_what_one_process_gives(found, tmp_path):
    alone = every_verb(trainer(tmp_path, devices=1), batch_size=4)
    for of_rank in found:
        several = of_rank["one_trainer"]
        for part in alone:
            assert _close(several[part], alone[part]), part


def _close(found, expected):
    """Equal up to the rounding of float64."""
    if isinstance(expected, list | tuple):
        pairs = zip(found, expected, strict=True)
        return all(_close(*pair) for pair in pairs)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_close(found[k], expected[k]) for k in found)
    return found == pytest.approx(expected, abs=1e-12)


def test_trainers_follow_each_other_and_one_may_be_alone(found, tmp_path):
    first, alone, third = found[0]["with_one_device_after"]
    assert first == third == found[1]["with_one_device_after"][0]
    assert _close(alone, first)


def test_files_by_name_and_by_path(found):
    assert found[0]["files"] == found[1]["files"]
    files = found[0]["files"]
    best, last, path = (files["tested"][name] for name in ("best", "last", "last.ckpt"))
    assert last == path != best
    assert files["steps"] == (8, 8, 2)
    assert files["best"] == "epoch=0-step=2.ckpt"
    assert files["weights"][0] == files["weights"][1]


def test_a_datamodule_prepares_once_and_is_set_up_everywhere(found):
    for rank, of_rank in enumerate(found):
        prepare = ["prepare_data"] if rank == 0 else []
        expected = []
        for stage, loads in (("fit", ["train_dataloader"]), ("test", []), ("predict", [])):
            expected += [*prepare, f"setup {stage} {rank} 2", *loads, f"teardown {stage}"]
        assert of_rank["datamodule"] == expected


def test_two_machines_prepare_once_each_or_once_in_all(found):
    assert [of_rank["two_machines"] for of_rank in found] == [
        (True, True, True),
        (True, False, False),
    ]


def test_layers_that_are_made_late_are_those_of_rank_0(found):
    (calls, first), (same, second) = (of_rank["configure_model"] for of_rank in found)
    assert (calls, first) == (same, second)
    assert calls == 2  # for fit and for test


def test_an_error_on_all_ranks_is_heard_on_all_and_the_next_run_is_well(found):
    for rank, of_rank in enumerate(found):
        heard, calls, status, batches = of_rank["on_exception"]
        assert heard == ["ArithmeticError('on purpose')", "teardown"]
        assert calls[-2:] == ["on_exception on purpose", "teardown fit"]
        assert calls[-4] == f"setup fit {rank} 2"
        assert (status, batches) == ("interrupted", 2)


def test_ranks_that_seed_themselves_apart_deal_from_one_order(found):
    (first, seed), (second, other) = (of_rank["seeds"] for of_rank in found)
    assert (seed, other) == (7, 8)
    assert first[0] == first[1] and second[0] == second[1]
    for half in (slice(0, 2), slice(2, 4)):
        values = sum([*first[0][half], *second[0][half]], [])
        assert sorted(values) == [i / 8 for i in range(8)]
    assert first[0][:2] != first[0][2:]


def test_in_fabric_too(found):
    first, second = (of_rank["fabric_seeds"] for of_rank in found)
    for epoch in range(2):
        values = sum([*first[epoch], *second[epoch]], [])
        assert sorted(values) == [i / 8 for i in range(8)]
    assert first[0] != first[1]
