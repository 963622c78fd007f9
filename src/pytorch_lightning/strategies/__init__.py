"""How a module is spread over devices and processes."""

from pytorch_lightning.strategies.ddp import DDPStrategy
from pytorch_lightning.strategies.deepspeed import DeepSpeedStrategy
from pytorch_lightning.strategies.fsdp import FSDPStrategy
from pytorch_lightning.strategies.model_parallel import ModelParallelStrategy
from pytorch_lightning.strategies.parallel import ParallelStrategy
from pytorch_lightning.strategies.registry import StrategyRegistry
from pytorch_lightning.strategies.single_device import SingleDeviceStrategy
from pytorch_lightning.strategies.single_xla import SingleDeviceXLAStrategy
from pytorch_lightning.strategies.strategy import Strategy
from pytorch_lightning.strategies.xla import XLAStrategy

SingleDeviceStrategy.register_strategies(StrategyRegistry)
DDPStrategy.register_strategies(StrategyRegistry)
FSDPStrategy.register_strategies(StrategyRegistry)
DeepSpeedStrategy.register_strategies(StrategyRegistry)
SingleDeviceXLAStrategy.register_strategies(StrategyRegistry)
XLAStrategy.register_strategies(StrategyRegistry)

__all__ = [
    "DDPStrategy",
    "DeepSpeedStrategy",
    "FSDPStrategy",
    "ModelParallelStrategy",
    "ParallelStrategy",
    "SingleDeviceStrategy",
    "SingleDeviceXLAStrategy",
    "Strategy",
    "StrategyRegistry",
    "XLAStrategy",
]
