"""The one place that knows where in the data a run is."""

from pytorch_lightning.data.feed import open_source
from pytorch_lightning.data.position import Source

__all__ = ["Source", "open_source"]
