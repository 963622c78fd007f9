"""Sweeps that find a learning rate or a batch size."""

__all__: list[str] = []
