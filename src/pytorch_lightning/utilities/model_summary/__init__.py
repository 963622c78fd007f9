"""What a model consists of, as a table."""

from pytorch_lightning.utilities.model_summary.layer import LayerSummary, parse_batch_shape
from pytorch_lightning.utilities.model_summary.model_summary import ModelSummary, summarize
from pytorch_lightning.utilities.model_summary.model_summary_deepspeed import DeepSpeedSummary
from pytorch_lightning.utilities.model_summary.table import (
    get_formatted_model_size,
    get_human_readable_count,
)

__all__ = [
    "DeepSpeedSummary",
    "LayerSummary",
    "ModelSummary",
    "get_formatted_model_size",
    "get_human_readable_count",
    "parse_batch_shape",
    "summarize",
]
