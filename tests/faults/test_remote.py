"""A remote store that fails leaves the checkpoint before, an error on all ranks and no rubbish."""

import os
import time

import pytest
import torch
from tests.distributed.ranks import run_ranks
from tests.faults import trained
from tests.faults.stores import Store, StoreError
from tests.faults.victims import temporary_files
from tests.small_runs import Small, loader, trainer

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import CheckpointError

VERBS = ("open", "write", "close", "copy", "info")
ERRORS = {
    "of the system": OSError(5, "the store went away"),
    "of its own": StoreError("the store went away"),
    "of time": TimeoutError("the store went away"),
}


@pytest.fixture(autouse=True)
def _healthy():
    Store.heal()
    yield
    Store.heal()


def save(url, epoch):
    content = {"epoch": epoch, "state_dict": {"w": torch.zeros(5000)}}
    TorchCheckpointIO().save_checkpoint(content, url)


def epoch_in(url):
    return TorchCheckpointIO().load_checkpoint(url)["epoch"]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_store_that_refuses_keeps_the_object_before(verb, error, tmp_path, tally):
    url = f"store://{tmp_path}/a.ckpt"
    save(url, 1)
    Store.plan = {verb: ERRORS[error]}
    tally("remote store that refuses")
    with pytest.raises(CheckpointError, match=r"a\.ckpt.*the store went away") as caught:
        save(url, 2)
    assert isinstance(caught.value, OSError)
    Store.heal()
    assert epoch_in(url) == 1
    save(url, 3)
    assert epoch_in(url) == 3 and os.listdir(tmp_path) == ["a.ckpt"]


def test_a_removal_that_fails_leaves_the_old_or_the_new(tmp_path, tally):
    url = f"store://{tmp_path}/a.ckpt"
    save(url, 1)
    Store.plan = {"rm": ERRORS["of its own"]}
    tally("remote store that refuses")
    with pytest.raises(CheckpointError, match="the store went away"):
        save(url, 2)
    Store.heal()
    assert epoch_in(url) in (1, 2)
    save(url, 3)
    assert epoch_in(url) == 3 and os.listdir(tmp_path) == ["a.ckpt"]


@pytest.mark.parametrize("lost", [1, 22, 100, 10_000])
def test_bytes_that_do_not_arrive_are_noticed_when_it_is_saved(lost, tmp_path, tally):
    url = f"store://{tmp_path}/a.ckpt"
    save(url, 1)
    Store.loses = lost
    tally("remote store that loses bytes")
    with pytest.raises(CheckpointError, match=r"a\.ckpt.* bytes arrived"):
        save(url, 2)
    assert epoch_in(url) == 1


def test_what_is_seen_a_moment_later_is_no_error(tmp_path, tally):
    url = f"store://{tmp_path}/a.ckpt"
    Store.delay = 2
    tally("remote store that shows things late")
    save(url, 1)
    assert epoch_in(url) == 1


def test_a_flipped_byte_in_a_store_is_noticed(tmp_path, tally):
    save(f"store://{tmp_path}/a.ckpt", 1)
    content = bytearray((tmp_path / "a.ckpt").read_bytes())
    for at in range(0, len(content), 997):
        content[at] ^= 1
        (tmp_path / "a.ckpt").write_bytes(content)
        content[at] ^= 1
        tally("flipped bit")
        with pytest.raises(CheckpointError, match=r"a\.ckpt"):
            epoch_in(f"store://{tmp_path}/a.ckpt")


def dying(url, die_at, pipe):
    Store.heal()
    Store.die_at = die_at
    save(url, 2)
    trained.tell(pipe, "done")


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.long)])
def test_a_death_before_a_request_to_a_store(every, breeder, tmp_path, tally):
    found = []
    for number in range(0, 1000, every):
        folder = tmp_path / str(number)
        url = f"store://{folder}/a.ckpt"
        save(url, 1)
        victim = breeder.victim(dying, url, number, folder=tmp_path)
        victim.join()
        if "done" in victim.lines:
            break
        tally("SIGKILL before a request to a remote store")
        found.append(epoch_in(url))
        save(url, 3)
        assert epoch_in(url) == 3 and os.listdir(folder) == ["a.ckpt"], victim.said()
    assert found == sorted(found) and found[0] == 1 and set(found) <= {1, 2}
    assert len(found) >= 60 // every


class Scored(Small):
    """A falling score, so that each save is among the best."""

    def training_step(self, batch, batch_idx):
        self.log("score", -float(self.global_step))
        return super().training_step(batch, batch_idx)


def keeper(folder):
    return ModelCheckpoint(
        f"store://{folder}",
        filename="{step}",
        monitor="score",
        save_top_k=2,
        save_last=True,
        every_n_train_steps=1,
    )


def after(saves):
    """Let so many files through, and refuse after that."""
    done = 0

    def count():
        nonlocal done
        done += 1
        if done > saves:
            raise ERRORS["of its own"]

    return count


@pytest.mark.parametrize("saves", [2, 3, 4, 5])
def test_a_run_fails_at_once_and_goes_on_when_the_store_is_back(saves, tmp_path, tally):
    saver = keeper(tmp_path)
    Store.plan = {"close": after(saves)}
    tally("remote store that refuses")
    with pytest.raises(CheckpointError, match="the store went away"):
        trainer(max_epochs=2, callbacks=[saver]).fit(Scored(), loader(8))
    Store.heal()
    for url in saver.best_k_models:
        assert TorchCheckpointIO().load_checkpoint(url)["global_step"] in (1, 2)
    saver = keeper(tmp_path)
    again = trainer(max_epochs=2, callbacks=[saver])
    again.fit(Scored(), loader(8), ckpt_path="auto")
    assert again.global_step == 8
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "step=7.ckpt", "step=8.ckpt"]
    assert temporary_files(tmp_path) == []


def fail_on_rank_0(folder):
    if os.environ["RANK"] == "0":
        Store.plan = {"close": after(3)}
    saver = keeper(folder)
    run = trainer(max_epochs=2, callbacks=[saver], devices=2, strategy="ddp", accelerator="cpu")
    try:
        run.fit(Scored(), loader(8))
    except Exception as error:
        said = "\n".join([str(error), *getattr(error, "__notes__", ())])
        return said, time.time(), sorted(map(os.path.basename, saver.best_k_models))
    return None


def test_all_ranks_hear_of_it_at_once(tmp_path, tally):
    tally("remote store that refuses")
    first, second = run_ranks(fail_on_rank_0, 2, str(tmp_path))
    for text, _, kept in (first, second):
        assert "last.ckpt" in text and "the store went away" in text
        assert kept == first[2] == ["step=1.ckpt"]
    assert abs(first[1] - second[1]) < 5
    for name in first[2]:
        assert TorchCheckpointIO().load_checkpoint(tmp_path / name)["global_step"] in (1, 2)
