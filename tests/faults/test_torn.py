"""A file that is torn, flipped or something else is noticed by whatever reads it, and named."""

import random
import shutil
from functools import partial

import pytest
import torch
from tests.small_runs import Small, trainer

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.checkpoint.peek import read_value
from pytorch_lightning.checkpoint.reader import verify_checkpoint
from pytorch_lightning.checkpoint.seal import SEAL_SIZE
from pytorch_lightning.checkpoint.upgrade import upgrade_file
from pytorch_lightning.fabric import Fabric
from pytorch_lightning.utilities.exceptions import CheckpointError

END = SEAL_SIZE + 22  # of the archive: its last record and the comment with the hash


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    saver = ModelCheckpoint(folder, filename="whole", every_n_train_steps=2)
    trainer(callbacks=[saver], max_steps=2).fit(Small())
    return (folder / "whole.ckpt").read_bytes()


def run(verb, path):
    module = Small()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    try:
        getattr(trainer(max_epochs=2), verb)(module, ckpt_path=str(path))
    finally:
        after = module.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)


def by_fabric(path):
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.load(path, {"state_dict": {}})


def by_hpc(path):
    shutil.copy(path, path.parent / "hpc_ckpt_1.ckpt")
    try:
        trainer(max_epochs=2, default_root_dir=path.parent).fit(Small(), ckpt_path="hpc")
    except CheckpointError as error:
        raise CheckpointError(str(error).replace("hpc_ckpt_1", path.stem)) from error


READERS = {
    **{verb: partial(run, verb) for verb in ("fit", "validate", "test", "predict")},
    "load_from_checkpoint": Small.load_from_checkpoint,
    "Fabric.load": by_fabric,
    "upgrade": upgrade_file,
    "hpc": by_hpc,
}


def flipped(content, bit):
    torn = bytearray(content)
    torn[bit // 8] ^= 1 << bit % 8
    return bytes(torn)


def sizes(content):
    """Where a file is cut: at the beginning, within records, at its end, within the hash."""
    size = len(content)
    ends = [size - 1, size - 22, size - SEAL_SIZE, size - SEAL_SIZE - 1, size - END]
    return [0, 1, 3, 4, 100, size // 2, *ends]


def places(content):
    """Bits in each part: the records, the directory, the last record, the label, the hash."""
    size = 8 * len(content)
    directory = 8 * content.index(b"PK\x01\x02")
    inside = [0, 8 * 4 + 1, size // 3, directory - 1, directory, directory + 8 * 20]
    return [*inside, size - 8 * END, size - 8 * SEAL_SIZE - 3, size - 8 * 65, size - 1]


def damaged(content):
    for size in sizes(content):
        yield "torn file", content[:size]
    for bit in places(content):
        yield "flipped bit", flipped(content, bit)
    yield "something else", b"<html>404 not found</html>" * 50
    yield "something else", content + b"more"
    yield "something else", b"\0" * len(content)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_notices_and_names_the_file(reader, whole, tmp_path, tally):
    path = tmp_path / "mine.ckpt"
    for kind, content in damaged(whole):
        path.write_bytes(content)
        tally(kind)
        with pytest.raises(CheckpointError, match=r"mine\.ckpt"):
            READERS[reader](path)
        assert path.read_bytes() == content
    path.write_bytes(whole)
    if reader != "Fabric.load" and reader not in ("fit", "validate", "test", "predict"):
        READERS[reader](path)


@pytest.mark.parametrize("many", [500, pytest.param(20_000, marks=pytest.mark.long)])
def test_a_bit_anywhere_is_noticed(many, whole, tmp_path, tally):
    path = tmp_path / "mine.ckpt"
    chance = random.Random(many)
    for _ in range(many):
        path.write_bytes(flipped(whole, chance.randrange(8 * len(whole))))
        tally("flipped bit")
        with pytest.raises(CheckpointError, match=r"mine\.ckpt"):
            verify_checkpoint(path)


def test_a_look_into_a_torn_file_finds_nothing_and_raises_nothing(whole, tmp_path, tally):
    path = tmp_path / "mine.ckpt"
    path.write_bytes(whole)
    assert read_value(str(path), "global_step") == 2
    for size in sizes(whole):
        path.write_bytes(whole[:size])
        tally("torn file")
        assert read_value(str(path), "global_step") in (None, 2)


class Another(pl.LightningModule):
    """A module with weights of other names."""

    def __init__(self):
        super().__init__()
        self.other = torch.nn.Linear(2, 2)

    def training_step(self, batch, batch_idx):
        return self.other.weight.sum()

    def test_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_a_file_of_another_model_is_one_error_with_its_name(verb, whole, tmp_path, tally):
    path = tmp_path / "mine.ckpt"
    path.write_bytes(whole)
    tally("file of another model")
    with pytest.raises(RuntimeError, match=r"(?s)mine\.ckpt.*layer\.weight"):
        getattr(trainer(), verb)(Another(), Small().train_dataloader(), ckpt_path=path)
    assert path.read_bytes() == whole


def test_loading_the_weights_of_another_model_names_the_file(whole, tmp_path, tally):
    path = tmp_path / "mine.ckpt"
    path.write_bytes(whole)
    tally("file of another model")
    with pytest.raises(RuntimeError, match=r"(?s)mine\.ckpt.*layer\.weight"):
        Another.load_from_checkpoint(path)


@pytest.mark.parametrize("verb", ["fit", "predict"])
def test_a_file_of_a_newer_release_is_one_error_with_its_name(verb, whole, tmp_path, tally):
    path = tmp_path / "mine.ckpt"
    path.write_bytes(whole)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "pytorch-lightning_version": "99.1.0"}, path)
    tally("file of a newer release")
    with pytest.raises(CheckpointError, match=r"(?s)mine\.ckpt.*99\.1\.0"):
        run(verb, path)
