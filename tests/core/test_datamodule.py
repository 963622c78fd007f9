"""Datamodules without a trainer."""

import copy
import pickle

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset

from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.arange(4.0)


class Numbers(LightningDataModule):
    def __init__(self, batch_size=2, scale=1.0):
        super().__init__()
        self.save_hyperparameters()
        self.events = []

    def prepare_data(self):
        self.events.append("prepare_data")

    def setup(self, stage):
        self.events.append(stage)
        self.numbers = torch.arange(6.0) * self.hparams.scale

    def train_dataloader(self):
        self.events.append("train_dataloader")
        return DataLoader(self.numbers, batch_size=self.hparams.batch_size)


def test_use_by_hand():
    data = Numbers(scale=2.0)
    data.prepare_data()
    data.setup("fit")
    assert [batch.tolist() for batch in data.train_dataloader()] == [[0, 2], [4, 6], [8, 10]]
    assert data.events == ["prepare_data", "fit", "train_dataloader"]
    assert data.hparams_initial == {"batch_size": 2, "scale": 2.0}


def test_documented_attributes():
    data = LightningDataModule()
    assert data.trainer is None
    assert data.name is None
    assert data.prepare_data_per_node is True
    assert data.allow_zero_length_dataloader_with_multiple_devices is False
    assert data.state_dict() == {}
    assert data.load_state_dict({}) is None
    assert data.transfer_batch_to_device({"x": 1}, torch.device("cpu"), 0) == {"x": 1}
    assert LightningDataModule.CHECKPOINT_HYPER_PARAMS_KEY == "datamodule_hyper_parameters"
    assert LightningDataModule.CHECKPOINT_HYPER_PARAMS_NAME == "datamodule_hparams_name"
    assert LightningDataModule.CHECKPOINT_HYPER_PARAMS_TYPE == "datamodule_hparams_type"


def test_the_metaclass_is_type_so_that_other_bases_fit():
    assert type(LightningDataModule) is type

    class Both(LightningDataModule, TensorDataset):
        def __init__(self):
            LightningDataModule.__init__(self)

    assert Both().trainer is None


@pytest.mark.parametrize("stage", ["train", "val", "test", "predict"])
def test_a_missing_loader_is_named(stage):
    with pytest.raises(MisconfigurationException, match=f"{stage}_dataloader"):
        getattr(LightningDataModule(), f"{stage}_dataloader")()


def test_a_subclass_that_forgets_super_init_still_has_attributes():
    class Forgetful(LightningDataModule):
        def __init__(self):
            self.x = 1

    assert Forgetful().trainer is None
    assert Forgetful().prepare_data_per_node is True


def test_from_datasets():
    train, val = TensorDataset(torch.arange(5)), TensorDataset(torch.arange(3))
    data = LightningDataModule.from_datasets(train, val, test_dataset=Stream(), batch_size=2)
    assert isinstance(data.train_dataloader().sampler, RandomSampler)
    assert not isinstance(data.val_dataloader().sampler, RandomSampler)
    assert [x.tolist() for x in data.test_dataloader()] == [[0.0, 1.0], [2.0, 3.0]]
    assert sorted(x for (batch,) in data.train_dataloader() for x in batch.tolist()) == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip
    with pytest.raises(MisconfigurationException, match="predict_dataloader"):
        data.predict_dataloader()


def test_from_datasets_takes_collections_and_streams():
    one, two = TensorDataset(torch.arange(5)), TensorDataset(torch.arange(3))
    data = LightningDataModule.from_datasets(Stream(), {"a": one, "b": two}, (one, two))
    assert len(list(data.train_dataloader())) == 4
    assert {key: len(loader) for key, loader in data.val_dataloader().items()} == {"a": 5, "b": 3}
    assert [len(loader) for loader in data.test_dataloader()] == [5, 3]
    generated = LightningDataModule.from_datasets(predict_dataset=(d for d in [one, two]))
    assert [len(loader) for loader in generated.predict_dataloader()] == [5, 3]
    assert [len(loader) for loader in generated.predict_dataloader()] == [5, 3]


def test_from_datasets_takes_anything_with_items_as_one_dataset():
    data = LightningDataModule.from_datasets(torch.arange(6.0), batch_size=3)
    assert len(data.train_dataloader()) == 2


def test_from_datasets_hands_options_to_init_where_it_takes_them():
    data = Numbers.from_datasets(TensorDataset(torch.arange(5)), batch_size=4, scale=3.0)
    assert data.hparams == {"batch_size": 4, "scale": 3.0}
    assert data.train_dataloader().batch_size == 4

    class Rest(LightningDataModule):
        def __init__(self, **options):
            super().__init__()
            self.options = options

    assert Rest.from_datasets(foo=2).options == {"batch_size": 1, "num_workers": 0, "foo": 2}


def test_copies_and_pickles():
    data = LightningDataModule.from_datasets(TensorDataset(torch.arange(5)))
    assert len(pickle.loads(pickle.dumps(data)).train_dataloader()) == 5
    assert len(copy.deepcopy(data).train_dataloader()) == 5


def test_as_text_without_building_a_loader():
    data = Numbers()
    assert str(data).splitlines() == [
        "Train dataloader: defined",
        "Validation dataloader: None",
        "Test dataloader: None",
        "Predict dataloader: None",
    ]
    assert data.events == []
    made = LightningDataModule.from_datasets(
        TensorDataset(torch.arange(5)), {"a": TensorDataset(torch.arange(3)), "b": Stream()}
    )
    assert str(made).splitlines()[:2] == [
        "Train dataloader: size=5",
        "Validation dataloader: a: size=3 ; b: size=NA",
    ]
