"""Checkpoints in parts and whole ones: saved by some number of processes, loaded by another."""

import hashlib
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from tests.distributed.ranks import outcomes_of_ranks, run_ranks
from tests.distributed.test_fsdp import (
    CLASSES,
    IN_64_BITS,
    QUIET,
    Net,
    assert_close,
    batches,
    states,
    whole,
)

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.checkpoint.consolidate import main
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.reader import read_checkpoint
from pytorch_lightning.strategies import FSDPStrategy
from pytorch_lightning.utilities.exceptions import CheckpointError

OPTIONS = {**QUIET, **IN_64_BITS, "use_distributed_sampler": False}


class Kept(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("counted", torch.zeros(1))
        self.save_hyperparameters()

    def training_step(self, batch, batch_idx):
        self.counted += 1
        return super().training_step(batch, batch_idx)


def trainer_of(world, state_dict_type="sharded", epochs=1, **kwargs):
    strategy = FSDPStrategy(state_dict_type=state_dict_type, auto_wrap_policy=CLASSES)
    return pl.Trainer(devices=world, strategy=strategy, max_epochs=epochs, **{**OPTIONS, **kwargs})


def mine(world):
    rank = int(os.environ.get("RANK", 0))
    return [batch[rank::world] for batch in batches()]


def _save(world, folder):
    module = Kept()
    keep = ModelCheckpoint(dirpath=f"{folder}/kept", save_top_k=1, monitor=None)
    trainer = trainer_of(world, callbacks=[keep], enable_checkpointing=True)
    trainer.fit(module, mine(world))
    trainer.save_checkpoint(f"{folder}/parts.ckpt")
    trainer.save_checkpoint(f"{folder}/parts.ckpt")  # over the one that is there
    trainer.save_checkpoint(f"{folder}/weights.ckpt", weights_only=True)
    trainer.strategy.saves_in_parts = False
    trainer.save_checkpoint(f"{folder}/whole.ckpt")
    return keep.best_model_path, whole(module), states(trainer.optimizers[0])


def _go_on(world, path, state_dict_type):
    module = Kept()
    trainer = trainer_of(world, state_dict_type, epochs=2)
    trainer.fit(module, mine(world), ckpt_path=path)
    return whole(module), states(trainer.optimizers[0]), trainer.global_step


def _evaluate(world, path):
    module = Kept()
    trainer = trainer_of(world)
    found = trainer.validate(module, mine(world), ckpt_path=path, verbose=False)
    return found, whole(module)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    best, weights, optimizer = run_ranks(_save, 2, 2, str(folder))[0]
    return folder, best, weights, optimizer


@pytest.fixture(scope="module")
def two_epochs():
    module = Kept()
    trainer = pl.Trainer(devices=1, max_epochs=2, **OPTIONS)
    trainer.fit(module, batches())
    return whole(module), states(trainer.optimizers[0])


def test_a_checkpoint_in_parts_is_a_folder(saved):
    folder, best, _, _ = saved
    assert Path(best).is_dir() and Path(best).parent == folder / "kept"
    assert sorted(p.name for p in (folder / "parts.ckpt").iterdir()) == [
        ".metadata",
        "__0_0.distcp",
        "__1_0.distcp",
        "meta.pt",
    ]
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_the_whole_one_is_that_of_one_process(saved):
    folder, _, weights, optimizer = saved
    found = torch.load(folder / "whole.ckpt", weights_only=True)
    plain = {n: v.tolist() for n, v in found["state_dict"].items()}
    assert plain.pop("counted") == [4.0]
    assert_close(plain, weights)
    entries = {
        f"{place}.{name}": value.tolist()
        for place, values in found["optimizer_states"][0]["state"].items()
        for name, value in values.items()
    }
    assert_close(entries, optimizer)


@pytest.mark.parametrize(
    ("name", "world"), [("parts.ckpt", 1), ("parts.ckpt", 2), ("parts.ckpt", 3), ("whole.ckpt", 2)]
)
def test_a_run_goes_on_with_any_number_of_processes(saved, two_epochs, name, world):
    for weights, optimizer, steps in run_ranks(
        _go_on, world, world, str(saved[0] / name), "full" if world == 3 else "sharded"
    ):
        assert_close(weights, two_epochs[0])
        assert_close(optimizer, two_epochs[1])
        assert steps == 8


def test_a_run_goes_on_in_one_process_without_fsdp(saved, two_epochs):
    module = Kept().double()
    trainer = pl.Trainer(devices=1, max_epochs=2, **OPTIONS)
    trainer.fit(module, batches(), ckpt_path=saved[0] / "parts.ckpt")
    assert_close(whole(module), two_epochs[0])


def test_evaluation_reads_the_weights_alone(saved):
    folder, best, weights, _ = saved
    for path in (str(folder / "weights.ckpt"), best):
        for found, loaded in run_ranks(_evaluate, 2, 2, path):
            assert_close(loaded, weights)
            assert found[0]["val"] > 0


def test_a_module_is_made_from_a_folder(saved):
    module = Kept.load_from_checkpoint(saved[0] / "parts.ckpt")
    assert_close(whole(module.double()), saved[2])


def test_a_folder_becomes_one_file(saved, tmp_path, capsys):
    folder = saved[0] / "parts.ckpt"
    main([str(folder), "--output_file", str(tmp_path / "one.ckpt")])
    found = torch.load(tmp_path / "one.ckpt", weights_only=True)
    weights = {n: v.tolist() for n, v in found["state_dict"].items() if n != "counted"}
    assert_close(weights, saved[2])
    assert found["global_step"] == 4 and "sharded_checkpoint" not in found
    with pytest.raises(FileExistsError, match="exists already"):
        main([str(folder), "--output_file", str(tmp_path / "one.ckpt")])
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "no meta.pt" in capsys.readouterr().err


def _validate(world, path):
    trainer_of(world).validate(Kept(), mine(world), ckpt_path=path, verbose=False)


@pytest.mark.parametrize("name", ["__1_0.distcp", ".metadata", "meta.pt"])
def test_a_flipped_bit_is_noticed(saved, tmp_path, name):
    folder = shutil.copytree(saved[0] / "parts.ckpt", tmp_path / "parts.ckpt")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(
        CheckpointError, match=f"(?s){name}.*(damaged|what was written)|damaged.*{name}"
    ):
        Kept.load_from_checkpoint(folder)
    if name == "__1_0.distcp":
        for ok, _, text in outcomes_of_ranks(_validate, 2, 2, str(folder)):
            assert not ok and "__1_0.distcp is not what was written" in text


def test_a_missing_part_is_named(saved, tmp_path):
    folder = shutil.copytree(saved[0] / "parts.ckpt", tmp_path / "parts.ckpt")
    (folder / "__1_0.distcp").unlink()
    with pytest.raises(CheckpointError, match="lacks __1_0.distcp"):
        Kept.load_from_checkpoint(folder)


class Runs:
    """What a pickle calls when a program reads it as one."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def _with_index(folder, change):
    """Replace the index, and list the hash of the new one."""
    index = folder / ".metadata"
    content = change(pickle.loads(index.read_bytes()))
    index.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))
    rest = read_checkpoint(folder / "meta.pt")
    hashes = rest["sharded_checkpoint"]["hashes"]
    hashes[".metadata"] = hashlib.sha256(index.read_bytes()).hexdigest()
    TorchCheckpointIO().save_checkpoint(rest, folder / "meta.pt")


def _call_inside(metadata, path):
    metadata.planner_data = {"key": Runs(path)}
    return metadata


def _value_that_is_no_tensor(metadata, _):
    from torch.distributed.checkpoint.metadata import BytesStorageMetadata

    metadata.state_dict_metadata["state_dict.offset"] = BytesStorageMetadata()
    return metadata


def _file_elsewhere(metadata, path):
    for info in metadata.storage_data.values():
        info.relative_path = f"../{Path(path).name}"
    return metadata


HOSTILE = {
    "a call": lambda _, path: pickle.dumps(Runs(path)),
    "a call inside": _call_inside,
    "no tensor": _value_that_is_no_tensor,
    "a file elsewhere": _file_elsewhere,
    "no pickle": lambda _, __: b"\x80\x05]",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_index_is_refused_and_runs_nothing(saved, tmp_path, name):
    folder = shutil.copytree(saved[0] / "parts.ckpt", tmp_path / "parts.ckpt")
    touched = tmp_path / "touched"
    _with_index(folder, lambda metadata: HOSTILE[name](metadata, str(touched)))
    with pytest.raises(CheckpointError, match=r"\.metadata"):
        Kept.load_from_checkpoint(folder)
    assert not touched.exists()
    assert pickle.loads(pickle.dumps(Runs(str(touched)))) is None
    assert touched.exists()  # so it would have been, had anybody run it


def test_a_folder_of_another_program_is_refused(saved, tmp_path):
    folder = shutil.copytree(saved[0] / "parts.ckpt", tmp_path / "parts.ckpt")
    rest = read_checkpoint(folder / "meta.pt")
    del rest["sharded_checkpoint"]
    TorchCheckpointIO().save_checkpoint(rest, folder / "meta.pt")
    with pytest.raises(CheckpointError, match="another program"):
        Kept.load_from_checkpoint(folder)


def _save_nowhere(world, path):
    trainer = trainer_of(world)
    trainer.fit(Kept(), mine(world))
    with pytest.raises(CheckpointError) as caught:
        trainer.save_checkpoint(path)
    trainer.strategy.barrier()
    return str(caught.value)


def test_a_path_that_no_process_shares_is_refused():
    for text in run_ranks(_save_nowhere, 2, 2, "memory://somewhere/parts.ckpt"):
        assert "state_dict_type='full'" in text


class Midway(pl.Callback):
    """Saves while a window is open."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx == 1 and not os.path.exists(self.path):
            trainer.strategy.barrier()
            trainer.save_checkpoint(self.path)


def _window(world, path, strategy, state_dict_type):
    """Three batches to a step; the file is saved after two of them, and goes on if it is there."""
    module = Kept().double()
    if strategy == "fsdp":
        strategy = FSDPStrategy(state_dict_type=state_dict_type, auto_wrap_policy=CLASSES)
    there = os.path.exists(path)
    callbacks = [] if there else [Midway(path)]
    options = {**OPTIONS, "accumulate_grad_batches": 3, "callbacks": callbacks, "max_epochs": 1}
    trainer = pl.Trainer(devices=world, strategy=strategy, **options)
    trainer.fit(module, mine(world), ckpt_path=path if there else None)
    return whole(module)


@pytest.mark.parametrize(
    ("saved_by", "loaded_by"),
    [
        ((2, "fsdp", "sharded"), (2, "fsdp", "full")),
        ((2, "fsdp", "full"), (2, "ddp", None)),
        ((2, "ddp", None), (2, "fsdp", "sharded")),
    ],
)
def test_an_open_window_goes_on(tmp_path, saved_by, loaded_by):
    path = str(tmp_path / "window.ckpt")
    module = Kept().double()
    trainer = pl.Trainer(devices=1, max_epochs=1, accumulate_grad_batches=3, **OPTIONS)
    trainer.fit(module, batches())
    for world, *how in (saved_by, loaded_by):
        for weights in run_ranks(_window, world, world, path, *how):
            assert_close(weights, whole(module))
