"""Ground: what every other part stands on; it knows torch and the standard library."""

from pytorch_lightning.utilities.data import suggested_max_num_workers
from pytorch_lightning.utilities.enums import GradClipAlgorithmType, LightningEnum
from pytorch_lightning.utilities.file_system import is_shared_filesystem
from pytorch_lightning.utilities.grads import grad_norm
from pytorch_lightning.utilities.parameter_tying import (
    find_shared_parameters,
    set_shared_parameters,
)
from pytorch_lightning.utilities.parsing import AttributeDict, is_picklable
from pytorch_lightning.utilities.rank_zero import (
    rank_zero_deprecation,
    rank_zero_info,
    rank_zero_only,
    rank_zero_warn,
)
from pytorch_lightning.utilities.throughput import measure_flops
from pytorch_lightning.utilities.tree import move_data_to_device
from pytorch_lightning.utilities.warnings import disable_possible_user_warnings

__all__ = [
    "AttributeDict",
    "GradClipAlgorithmType",
    "LightningEnum",
    "disable_possible_user_warnings",
    "find_shared_parameters",
    "grad_norm",
    "is_picklable",
    "is_shared_filesystem",
    "measure_flops",
    "move_data_to_device",
    "rank_zero_deprecation",
    "rank_zero_info",
    "rank_zero_only",
    "rank_zero_warn",
    "set_shared_parameters",
    "suggested_max_num_workers",
]
