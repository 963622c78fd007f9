"""A module and the modules of its kind inside it, tied to a run for as long as it lasts."""

from typing import Any

import torch

from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.core.session import Session
from pytorch_lightning.utilities.compile import has_compiled_parts

_LOGGING = ("log", "log_dict")


def attach(module: LightningModule, trainer: Any, session: Session | None) -> None:
    """Let a run be asked by a module and the modules of its kind inside it."""
    for child in module.modules():
        if isinstance(child, LightningModule):
            child.__dict__["_trainer"] = trainer
            ended = child.__dict__.get("_session")
            child.__dict__["_session"] = session
            if session is None:
                child.__dict__["_ended_session"] = ended  # its optimizers can still be asked for
                for name in _LOGGING:
                    child.__dict__.pop(name, None)


def keep_logging_uncompiled(module: LightningModule) -> None:
    """Let compilers step over `self.log`: traced, every new value would be compiled anew."""
    if not has_compiled_parts(module):
        return
    skip: Any = torch.compiler.disable  # has no types
    for child in module.modules():
        if isinstance(child, LightningModule):
            for name in _LOGGING:
                if name not in child.__dict__:
                    child.__dict__[name] = skip(getattr(child, name))
