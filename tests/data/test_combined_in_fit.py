"""Several loaders at once, in training and in evaluation."""

from collections import namedtuple

import pytest
import torch
from tests.trainer.watched import Endless, Watched, numbers, quiet

from pytorch_lightning.utilities import CombinedLoader
from pytorch_lightning.utilities.exceptions import MisconfigurationException

Pair = namedtuple("Pair", ["left", "right"])


class Keeps(Watched):
    """Keeps the first number of each part of a batch."""

    def keep(self, event, batch):
        parts = torch.utils._pytree.tree_map(
            lambda part: None if part is None else int(part[0, 0]), batch
        )
        self.note(event, parts)

    def training_step(self, batch, batch_idx):
        self.keep("train", batch)
        return self(torch.ones(1, 2)).sum()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.note("val", batch_idx, dataloader_idx)
        self.keep("kept", batch)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        self.note("predict", batch_idx, dataloader_idx)


def trained(loaders, **arguments):
    module, trainer = Keeps(), quiet(**arguments)
    trainer.fit(module, loaders)
    return [entry[1] for entry in module.seen if entry[0] == "train"], trainer


SHORT_LONG = {"a": numbers(4), "b": numbers(6, start=10)}


@pytest.mark.parametrize(
    ("loaders", "first"),
    [
        (SHORT_LONG, {"a": 0, "b": 10}),
        ([numbers(4), numbers(6, start=10)], [0, 10]),
        ((numbers(4), numbers(6, start=10)), (0, 10)),
        (Pair(numbers(4), numbers(6, start=10)), Pair(0, 10)),
        ({"a": [numbers(4), numbers(6, start=10)], "b": numbers(2)}, {"a": [0, 10], "b": 0}),
    ],
    ids=["dict", "list", "tuple", "namedtuple", "nested"],
)
def test_a_training_batch_has_the_structure_of_its_loaders(loaders, first):
    batches, trainer = trained(loaders)
    assert batches[0] == first
    assert type(batches[0]) is type(first)
    assert len(batches) == trainer.num_training_batches == trainer.global_step == 3


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("min_size", [(0, 10), (2, 12)]),
        ("max_size", [(0, 10), (2, 12), (None, 14)]),
        ("max_size_cycle", [(0, 10), (2, 12), (0, 14)]),
    ],
)
def test_modes_of_a_combined_loader(mode, expected):
    combined = CombinedLoader(SHORT_LONG, mode)
    batches, trainer = trained(combined, max_epochs=2)
    assert [(batch["a"], batch["b"]) for batch in batches] == expected * 2
    assert trainer.num_training_batches == len(expected)
    assert trainer.train_dataloader is combined


def test_the_shorter_loader_cycles_by_default():
    batches, _ = trained(SHORT_LONG)
    assert [batch["a"] for batch in batches] == [0, 2, 0]


def test_one_after_the_other_is_refused_in_training():
    with pytest.raises((ValueError, MisconfigurationException), match="sequential"):
        trained(CombinedLoader(SHORT_LONG, "sequential"))


def test_limits_hold_for_the_joined_batches():
    assert len(trained(SHORT_LONG, limit_train_batches=2)[0]) == 2
    assert len(trained(SHORT_LONG, limit_train_batches=0.7)[0]) == 2


def test_loaders_without_a_length():
    batches, trainer = trained({"a": Endless(2), "b": numbers(6)})
    assert [batch["a"] for batch in batches] == [0, 1, 0]
    assert trainer.global_step == 3
    assert len(trained({"a": Endless(), "b": numbers(6)}, limit_train_batches=5)[0]) == 5


def test_the_length_is_that_of_the_current_loader():
    class Grows(Keeps):
        def train_dataloader(self):
            epoch = self.trainer.current_epoch
            return {"a": numbers(2), "b": numbers(4 + 4 * epoch)}

        def on_train_epoch_end(self):
            self.note("length", self.trainer.num_training_batches)

    module, trainer = Grows(), quiet(max_epochs=2, reload_dataloaders_every_n_epochs=1)
    trainer.fit(module)
    assert [entry[1] for entry in module.seen if entry[0] == "length"] == [2, 4]
    assert trainer.num_training_batches == 4


def test_validation_reads_a_collection_one_after_the_other():
    module, trainer = Keeps(), quiet(num_sanity_val_steps=1)
    trainer.fit(module, numbers(2), SHORT_LONG)
    order = [entry[1:] for entry in module.seen if entry[0] == "val"]
    assert order == [(0, 0), (0, 1), (0, 0), (1, 0), (0, 1), (1, 1), (2, 1)]
    assert trainer.num_val_batches == [2, 3]


@pytest.mark.parametrize(("mode", "batches"), [("min_size", 2), ("max_size", 3)])
def test_evaluation_of_joined_batches(mode, batches):
    module = Keeps()
    quiet().validate(module, CombinedLoader(SHORT_LONG, mode), verbose=False)
    assert [entry[1:] for entry in module.seen if entry[0] == "val"] == [
        (index, 0) for index in range(batches)
    ]
    assert ("kept", {"a": 0, "b": 10}) in module.seen


def test_prediction_of_joined_batches_is_refused():
    for mode in ("min_size", "max_size", "max_size_cycle"):
        with pytest.raises(ValueError, match="predict"):
            quiet().predict(Keeps(), CombinedLoader(SHORT_LONG, mode))
    module = Keeps()
    quiet().predict(module, CombinedLoader(SHORT_LONG, "sequential"))
    assert [entry[1:] for entry in module.seen] == [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1)]


def test_a_step_must_say_which_loader_it_is_given():
    class NoIndex(Watched):
        def validation_step(self, batch, batch_idx):
            pass

    with pytest.raises(RuntimeError, match="dataloader_idx"):
        quiet().validate(NoIndex(), [numbers(2), numbers(2)])


class Stateful:
    """A loader that says where it is, and takes up there."""

    def __init__(self, count=4):
        self.count = count
        self.at = 0

    def __len__(self):
        return self.count

    def __iter__(self):
        while self.at < self.count:
            self.at += 1
            yield torch.full((1, 2), float(self.at - 1))
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def test_loaders_with_a_state_go_on_from_it(tmp_path):
    class Saves(Keeps):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if batch_idx == 1:
                self.trainer.save_checkpoint(tmp_path / "a.ckpt")

    quiet().fit(Saves(), {"a": Stateful(), "b": Stateful()})
    module = Keeps()
    quiet().fit(module, {"a": Stateful(), "b": Stateful()}, ckpt_path=tmp_path / "a.ckpt")
    assert [entry[1] for entry in module.seen] == [{"a": 2, "b": 2}, {"a": 3, "b": 3}]
    with pytest.raises(Exception, match="2 training loaders and has 3"):
        other = {"a": Stateful(), "b": Stateful(), "c": Stateful()}
        quiet().fit(Keeps(), other, ckpt_path=tmp_path / "a.ckpt")
