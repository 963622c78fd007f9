"""What a person sees of a run: bars in a terminal or a notebook, lines elsewhere."""

from pytorch_lightning.callbacks.progress.line_progress import LineProgress
from pytorch_lightning.callbacks.progress.progress_bar import ProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import TQDMProgressBar

__all__ = ["LineProgress", "ProgressBar", "RichProgressBar", "TQDMProgressBar"]
