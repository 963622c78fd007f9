"""The documented home of the mixins that user classes may be made of."""

from pytorch_lightning.core.hparams import HyperparametersMixin

__all__ = ["HyperparametersMixin"]
