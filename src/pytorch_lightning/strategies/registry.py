"""Strategies by name."""

from pytorch_lightning.utilities.registry import Entry, Registry

__all__ = ["Entry", "Registry", "StrategyRegistry"]


class _StrategyRegistry(Registry):
    def available_strategies(self) -> list[str]:
        """The registered names, in order."""
        return sorted(self)


StrategyRegistry = _StrategyRegistry("strategy")
