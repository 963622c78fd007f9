"""Good files with random damage: the same data or one clear error, never anything else."""

import io
import pickle
import random
import time

import pytest
import torch
from tests.checkpoint import hostile
from tests.checkpoint.test_reader import same

from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.plain import to_plain
from pytorch_lightning.checkpoint.reader import read_checkpoint
from pytorch_lightning.utilities.exceptions import CheckpointError

pytestmark = pytest.mark.faults
COUNTS = [200, pytest.param(5_000, marks=pytest.mark.long)]


def content():
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "state_dict": model.state_dict(),
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": {"lr": 0.1, "sizes": (1, 2), "names": ["a", {"b": None}]},
        "epoch": 3,
    }


def mutated(data, chance):
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(data))
        action = chance.randrange(5)
        if action == 0:
            data[at] = chance.randrange(256)
        elif action == 1:
            data[at] ^= 1 << chance.randrange(8)
        elif action == 2:
            del data[at : at + chance.randrange(1, 9)]
        elif action == 3:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
        else:
            start = chance.randrange(len(data))
            data[at:at] = data[start : start + chance.randrange(1, 40)]
    return bytes(data)


def outcome_of(data):
    start = time.process_time()
    try:
        found = read_checkpoint(io.BytesIO(data))
    except CheckpointError:
        found = None
    assert time.process_time() - start < 5
    return found


@pytest.mark.parametrize("count", COUNTS)
def test_a_sealed_file_is_the_same_or_refused(count, tmp_path, tally):
    saved = content()
    TorchCheckpointIO().save_checkpoint(saved, tmp_path / "a.ckpt")
    good, chance = (tmp_path / "a.ckpt").read_bytes(), random.Random(1)
    for _ in range(count):
        tally("mutated file")
        data = mutated(good, chance)
        found = outcome_of(data)
        assert found is None or data == good or same(found, saved)


@pytest.mark.parametrize("count", COUNTS)
def test_any_pickle_is_data_or_refused(count, tmp_path, tally):
    file = io.BytesIO()
    torch.save(to_plain(content(), "checkpoint"), file)
    source = hostile.zipfile.ZipFile(file)
    records = {name.partition("/")[2]: source.read(name) for name in source.namelist()}
    plain = records.pop("data.pkl")
    streams = [plain, *(pickle.dumps(content()["hyper_parameters"], p) for p in (0, 2, 4))]
    chance, refused = random.Random(2), 0
    numbers = {f"archive/{name}": data for name, data in records.items() if "data/" in name}
    for turn in range(count):
        tally("mutated file")
        hostile.archive(tmp_path / "b.ckpt", mutated(streams[turn % 4], chance), numbers)
        found = outcome_of((tmp_path / "b.ckpt").read_bytes())
        refused += found is None
    assert 0 < refused < count


@pytest.mark.parametrize("count", COUNTS)
def test_the_format_before_the_archives_too(count, tally):
    file = io.BytesIO()
    torch.save(content(), file, _use_new_zipfile_serialization=False)
    chance = random.Random(3)
    for _ in range(count):
        tally("mutated file")
        outcome_of(mutated(file.getvalue(), chance))
