"""Layers that are synchronized, under the documented path."""

from pytorch_lightning.distributed.layer_sync import LayerSync, TorchSyncBatchNorm

__all__ = ["LayerSync", "TorchSyncBatchNorm"]
