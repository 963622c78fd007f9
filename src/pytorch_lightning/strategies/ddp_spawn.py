"""The DDP of 1.x that starts its processes by `multiprocessing`."""

from __future__ import annotations

from typing import Any, Literal

from pytorch_lightning.strategies.ddp import DDPStrategy


class DDPSpawnStrategy(DDPStrategy):
    """DDP in processes that are spawned; today `DDPStrategy(start_method="spawn")`."""

    def __init__(
        self,
        *args: Any,
        start_method: Literal["spawn", "fork", "forkserver"] = "spawn",
        **kwargs: Any,
    ) -> None:
        kwargs["start_method"] = start_method
        super().__init__(*args, **kwargs)

    @classmethod
    def register_strategies(cls, strategy_registry: Any) -> None:
        """The names are those of DDP."""
