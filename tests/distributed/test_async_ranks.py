"""Saving in the background on several ranks: one file, or parts; what fails is known to all."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from tests.distributed.ranks import outcomes_of_ranks, run_ranks
from tests.distributed.test_fsdp import CLASSES, IN_64_BITS, QUIET, Net, batches, states, whole
from tests.distributed.test_model_parallel import Grid

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.reader import read_checkpoint
from pytorch_lightning.checkpoint.sharded import is_sharded, verify_sharded
from pytorch_lightning.plugins.io import AsyncCheckpointIO
from pytorch_lightning.strategies import FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.utilities.exceptions import CheckpointError

OPTIONS = {
    **QUIET,
    **IN_64_BITS,
    "use_distributed_sampler": False,
    "enable_checkpointing": True,
    "log_every_n_steps": 1,  # so often ranks send each other a message
}


def mine(world, count=4):
    rank = int(os.environ.get("RANK", 0))
    return [batch[rank::world] for batch in batches(count)]


def trainer_of(world, strategy, *callbacks, **kwargs):
    if strategy == "fsdp":
        strategy = FSDPStrategy(state_dict_type="sharded", auto_wrap_policy=CLASSES)
    options = {"max_epochs": 1, **OPTIONS, **kwargs}
    return pl.Trainer(devices=world, strategy=strategy, callbacks=list(callbacks), **options)


def slow_torch_save(seconds, rank=None, fail_at=None, act=None):
    """A disk that takes its time with what a thread writes, and may fail on one rank."""
    real, calls = torch.save, []

    def save(*args, **kwargs):
        if threading.current_thread() is not threading.main_thread():
            time.sleep(seconds)
            calls.append(None)
            if rank == int(os.environ.get("RANK", 0)) and len(calls) == fail_at:
                act()
        return real(*args, **kwargs)

    torch.save = save


def _no_space():
    raise OSError(28, "No space left on device")


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _train(world, strategy, folder, *, in_background, epochs=2, slow=0.0):
    if slow:
        slow_torch_save(slow)
    keep = ModelCheckpoint(
        folder,
        filename="{epoch}",
        save_top_k=-1,
        save_last=True,
        async_save=in_background,
    )
    module = Net()
    trainer = trainer_of(world, strategy, keep, max_epochs=epochs)
    trainer.fit(module, mine(world))
    return whole(module), states(trainer.optimizers[0]), sorted(os.listdir(folder))


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    at_once = run_ranks(_both_ways, 2, request.param, str(folder))
    return request.param, folder, at_once


def _both_ways(strategy, folder):
    at_once = _train(2, strategy, f"{folder}/now", in_background=False)
    later = _train(2, strategy, f"{folder}/later", in_background=True, slow=0.03)
    return at_once, later


def content(path):
    """All the tensors of a checkpoint, whole, by the keys that lead to them."""
    checkpoint = TorchCheckpointIO().load_checkpoint(path)
    found = {}

    def walk(value, where):
        if isinstance(value, torch.Tensor):
            found[where] = value.tolist()
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{where}.{key}")
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                walk(item, f"{where}.{index}")

    for name in ("state_dict", "optimizer_states", "loops"):
        walk(checkpoint[name], name)
    return checkpoint["global_step"], found


def test_files_are_those_of_direct_saves_while_training_goes_on(saved):
    strategy, folder, results = saved
    names = ["epoch=0.ckpt", "epoch=1.ckpt", "last.ckpt"]
    for at_once, later in results:
        assert at_once == later and later[2] == names
    for name in names:
        assert is_sharded(folder / "later" / name) == (strategy == "fsdp")
        assert content(folder / "now" / name) == content(folder / "later" / name)


def _go_on(world, strategy, path):
    module = Net()
    trainer = trainer_of(world, strategy, max_epochs=2)
    trainer.fit(module, mine(world), ckpt_path=path)
    return whole(module), states(trainer.optimizers[0])


@pytest.mark.parametrize("world", [1, 3, pytest.param(2, marks=pytest.mark.long)])
def test_any_number_of_processes_goes_on_from_them(saved, world):
    strategy, folder, results = saved
    path = folder / "later" / "epoch=0.ckpt"
    if world == 1:
        found = [_go_on(1, "auto", path)]
    else:
        found = run_ranks(_go_on, world, world, strategy, str(path))
    expected = results[0][0][:2]
    for weights, moments in found:
        for tree, as_tree in ((weights, expected[0]), (moments, expected[1])):
            assert tree.keys() == as_tree.keys()
            for name, value in tree.items():
                torch.testing.assert_close(torch.tensor(value), torch.tensor(as_tree[name]))


def _alone(folder, way):
    keep = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1, async_save=True)
    module = Net()
    trainer = trainer_of(1, way, keep, max_epochs=2)
    trainer.fit(module, mine(1))
    return whole(module), states(trainer.optimizers[0])


def test_two_processes_go_on_from_the_parts_of_one(tmp_path):
    (expected,) = run_ranks(_alone, 1, str(tmp_path), "fsdp")
    assert is_sharded(tmp_path / "epoch=0.ckpt")
    for found in run_ranks(_go_on, 2, 2, "fsdp", str(tmp_path / "epoch=0.ckpt")):
        for tree, as_tree in zip(found, expected, strict=True):
            assert tree.keys() == as_tree.keys()
            for name, value in tree.items():
                torch.testing.assert_close(torch.tensor(value), torch.tensor(as_tree[name]))


def test_a_flipped_bit_in_a_part_is_noticed(saved, tmp_path, tally):
    strategy, folder, _ = saved
    if strategy == "ddp":
        path = tmp_path / "flipped.ckpt"
        path.write_bytes(flipped((folder / "later" / "last.ckpt").read_bytes()))
        tally("flipped bit")
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(path)
        return
    parts = folder / "later" / "last.ckpt"
    verify_sharded(parts)
    names = sorted(part.name for part in parts.iterdir())
    assert sum(name.startswith(("__0_", "__1_")) for name in names) == 2
    assert not any("rank" in name for name in names)
    for name in names:
        damaged = parts / name
        before = damaged.read_bytes()
        damaged.write_bytes(flipped(before))
        tally("flipped bit")
        with pytest.raises(CheckpointError):
            TorchCheckpointIO().load_checkpoint(parts)
        damaged.write_bytes(before)


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


class Unhurried(Net):
    def training_step(self, batch, batch_idx):
        time.sleep(0.03)
        return super().training_step(batch, batch_idx)


def _fail(strategy, folder, rank, fail_at, kind):
    # a file is one call of `torch.save`; of parts each piece is one, and `meta.pt` on rank 0
    slow_torch_save(0.0, rank, fail_at, _no_space if kind == "full" else _die)
    keep = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=4, async_save=True)
    trainer = trainer_of(2, strategy, keep, max_epochs=20)
    begin = time.monotonic()
    try:
        trainer.fit(Unhurried(), mine(2))
    except Exception as error:
        return trainer.global_step, str(error), keep.best_model_path, time.monotonic() - begin
    return trainer.global_step, None, keep.best_model_path, time.monotonic() - begin


@pytest.mark.parametrize(
    ("strategy", "rank", "fail_at"),
    [("ddp", 0, 2), ("fsdp", 1, 18), pytest.param("fsdp", 0, 19, marks=pytest.mark.long)],
)
def test_a_save_that_fails_on_one_rank_ends_all_at_their_next_message(
    tmp_path, tally, strategy, rank, fail_at
):
    tally("disk full")
    found = run_ranks(_fail, 2, strategy, str(tmp_path), rank, fail_at, "full")
    (kept,) = tmp_path.iterdir()
    step = int(kept.name.removeprefix("step=").removesuffix(".ckpt"))
    steps, texts, best, _ = zip(*found, strict=True)
    assert steps[0] == steps[1] and step < steps[0] <= step + 8
    assert all("No space left" in text for text in texts), texts
    assert any(f"rank {rank}" in text for text in texts)
    assert best[0] == str(kept)
    assert TorchCheckpointIO().load_checkpoint(kept)["global_step"] == step


def _slow_folder(folder):
    """Lists of files are old when they come, and names are given slowly."""
    replace, scandir = os.replace, os.scandir

    def slow_replace(source, target):
        if str(source).endswith(".json.new"):
            time.sleep(0.2)
        replace(source, target)

    @contextlib.contextmanager
    def old_list(path):
        with scandir(path) as entries:
            found = list(entries)
        if str(path).endswith(".part"):
            time.sleep(0.25)
        yield found

    os.replace, os.scandir = slow_replace, old_list
    keep = ModelCheckpoint(folder, filename="a", async_save=True)
    trainer_of(2, "fsdp", keep).fit(Net(), mine(2))


def test_ranks_that_wait_for_each_other_read_folders_that_change(tmp_path, tally):
    tally("slow folder")
    run_ranks(_slow_folder, 2, str(tmp_path))
    verify_sharded(tmp_path / "a.ckpt")


def test_a_rank_that_dies_while_it_writes_leaves_the_checkpoint_before(tmp_path, tally):
    tally("SIGKILL in a save in the background")
    begin = time.monotonic()
    first, second = outcomes_of_ranks(_fail, 2, "fsdp", str(tmp_path), 1, 18, "die", limit=60)
    assert not second[0]
    assert time.monotonic() - begin < 30
    names = [path for path in Path(tmp_path).iterdir() if not path.name.startswith(".")]
    (kept,) = names
    verify_sharded(kept)


def _fail_last(folder):
    slow_torch_save(0.2, 0, 1, _no_space)
    keep = ModelCheckpoint(folder, async_save=True)
    trainer = trainer_of(2, "ddp", keep)
    try:
        trainer.fit(Net(), mine(2))
    except Exception as error:
        return str(error), keep.best_model_path
    return None


def test_a_save_that_fails_as_the_run_ends_is_an_error_of_all(tmp_path, tally):
    tally("disk full")
    (first, best), (second, _) = run_ranks(_fail_last, 2, str(tmp_path))
    assert "No space left" in first and best == ""
    assert "failed on rank 0" in second and "No space left" in second
    assert os.listdir(tmp_path) == []


def _whole_and_parts(folder):
    found = []
    for name, strategy in (
        ("full", FSDPStrategy(state_dict_type="full", auto_wrap_policy=CLASSES)),
        ("sharded", ModelParallelStrategy(1, 2)),
    ):
        keep = ModelCheckpoint(f"{folder}/{name}", filename="a", save_last=True, async_save=True)
        module = Net() if name == "full" else Grid(("tensor",))
        trainer = trainer_of(2, strategy, keep)
        trainer.fit(module, mine(2) if name == "full" else batches())
        found.append(whole(module))
    return found


@pytest.mark.long
def test_whole_files_of_divided_states_and_parts_of_meshes(tmp_path):
    found = run_ranks(_whole_and_parts, 2, str(tmp_path))
    for name, weights in zip(("full", "sharded"), found[0], strict=True):
        for file in ("a.ckpt", "last.ckpt"):
            path = tmp_path / name / file
            assert is_sharded(path) == (name == "sharded")
            state = TorchCheckpointIO().load_checkpoint(path)["state_dict"]
            assert {key: value.tolist() for key, value in state.items()} == weights


def _plugin(folder):
    keep = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=1)
    trainer = trainer_of(2, "ddp", keep, plugins=AsyncCheckpointIO())
    trainer.fit(Net(), mine(2))
    found = trainer.validate(Net(), mine(2), ckpt_path="best", verbose=False)
    trainer.save_checkpoint(f"{folder}/own.ckpt")
    return sorted(os.listdir(folder)), len(found), trainer.strategy.background.is_busy


def test_the_plugin_serves_all_saves_of_a_trainer(tmp_path):
    for names, count, busy in run_ranks(_plugin, 2, str(tmp_path)):
        assert names == ["own.ckpt", "step=4.ckpt"] and count == 1 and not busy
