"""The one place that knows where in the data a run is."""

from pytorch_lightning.data.combined import CombinedLoader, is_collection
from pytorch_lightning.data.dealing import Ranks, deal
from pytorch_lightning.data.feed import Feed, open_source
from pytorch_lightning.data.position import Source

__all__ = ["CombinedLoader", "Feed", "Ranks", "Source", "deal", "is_collection", "open_source"]
