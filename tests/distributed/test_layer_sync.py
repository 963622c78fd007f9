"""Batch norm of all processes: there, and back to the very same layers."""

import torch
from torch import nn

from pytorch_lightning.plugins import LayerSync, TorchSyncBatchNorm


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3, eps=0.1)
        self.again = self.norm
        self.deep = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm2d(3, affine=False))
        self.own = nn.SyncBatchNorm(3)
        self.nothing = None


def test_layers_are_replaced_and_share_weights_and_statistics():
    model = Block().eval()
    before = model.norm
    model.norm.weight.requires_grad_(False)
    found = TorchSyncBatchNorm().apply(model)
    assert found is model
    assert isinstance(model.norm, nn.SyncBatchNorm) and model.norm is model.again
    assert isinstance(model.deep[1], nn.SyncBatchNorm)
    assert model.norm.weight is before.weight and model.norm.running_var is before.running_var
    assert model.norm.eps == 0.1 and not model.norm.training
    assert list(model.state_dict()) == list(Block().state_dict())
    assert len(list(model.modules())) == len(list(Block().modules()))


def test_the_way_back_gives_the_same_layers_with_what_was_learned():
    model = Block()
    norm, deep, own = model.norm, model.deep[1], model.own
    sync = TorchSyncBatchNorm()
    sync.apply(model)
    model.double()  # replaces the buffers
    model.norm.running_mean.fill_(2)
    with torch.no_grad():
        model.norm.weight.fill_(3)
    model.eval()
    assert TorchSyncBatchNorm().revert(model) is model
    assert model.norm is norm and model.again is norm and model.deep[1] is deep
    assert model.own is own
    assert norm.running_mean.tolist() == [2.0] * 3 and norm.running_mean.dtype is torch.float64
    assert norm.weight.tolist() == [3.0] * 3 and not norm.training
    assert sync.revert(model) is model


def test_a_layer_alone():
    layer = nn.BatchNorm3d(2)
    made = TorchSyncBatchNorm().apply(layer)
    assert isinstance(made, nn.SyncBatchNorm)
    assert TorchSyncBatchNorm().revert(made) is layer


def test_ones_own_is_derived_from_the_contract():
    class Mine(LayerSync):
        def apply(self, model):
            return model

        def revert(self, model):
            return model

    model = nn.Linear(1, 1)
    assert Mine().revert(Mine().apply(model)) is model
