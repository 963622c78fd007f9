"""How a module is spread over devices and processes."""

from pytorch_lightning.strategies.registry import StrategyRegistry
from pytorch_lightning.strategies.single_device import SingleDeviceStrategy
from pytorch_lightning.strategies.strategy import Strategy

SingleDeviceStrategy.register_strategies(StrategyRegistry)

__all__ = ["SingleDeviceStrategy", "Strategy", "StrategyRegistry"]
