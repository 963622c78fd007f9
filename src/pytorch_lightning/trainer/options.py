"""The arguments of the Trainer: older spellings, the environment, and what is refused."""

import ast
import inspect
import os
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

from pytorch_lightning.loops.limits import seconds
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_deprecation
from pytorch_lightning.utilities.suggest import did_you_mean

_Init = TypeVar("_Init", bound=Callable[..., None])
ENVIRONMENT_PREFIX = "PL_TRAINER_"

# Arguments of 1.x that are gone, with what to write.
GONE = {
    "amp_backend": "pass `precision='16-mixed'` alone; torch's own mixed precision is used",
    "amp_level": "pass `precision='16-mixed'` alone; torch's own mixed precision is used",
    "auto_lr_find": "the learning rate finder is not part of this release; set the rate yourself",
    "auto_scale_batch_size": (
        "the batch size finder is not part of this release; set the batch size yourself"
    ),
    "auto_select_gpus": "pass the indices of the devices as `devices=[...]`",
    "checkpoint_callback": "pass `enable_checkpointing=True` or False",
    "flush_logs_every_n_steps": "pass it to `CSVLogger(flush_logs_every_n_steps=...)`",
    "ipus": "IPUs are no longer supported; pass `accelerator` and `devices`",
    "log_gpu_memory": "log `torch.cuda.memory_allocated()` in a hook",
    "move_metrics_to_cpu": "values stay on their device until they are read; leave it out",
    "prepare_data_per_node": "set `prepare_data_per_node` on the datamodule or module",
    "process_position": "add the callback `TQDMProgressBar(process_position=...)`",
    "progress_bar_refresh_rate": "add the callback `TQDMProgressBar(refresh_rate=...)`",
    "stochastic_weight_avg": (
        "weight averaging is not part of this release; use `torch.optim.swa_utils` in a callback"
    ),
    "terminate_on_nan": "add the callback `EarlyStopping(monitor, check_finite=True)`",
    "weights_save_path": "add the callback `ModelCheckpoint(dirpath=...)`",
    "weights_summary": "pass `enable_model_summary`, or the callback `ModelSummary(max_depth=...)`",
}
# Of these, False was the default: it asks for nothing.
_OFF_BY_DEFAULT = (
    "auto_lr_find",
    "auto_scale_batch_size",
    "auto_select_gpus",
    "move_metrics_to_cpu",
    "stochastic_weight_avg",
    "terminate_on_nan",
)
# Accepted and of no effect: there is nothing to advertise.
IGNORED = ("suggest_integrations",)


def older_spellings(arguments: dict[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Bring the arguments of earlier releases to today's.

    Raises:
        TypeError: For a name that no release knows.
        MisconfigurationException: For one that is gone, with what to write.
    """
    known = set(known)
    today = {name: value for name, value in arguments.items() if name in known}
    for name, value in arguments.items():
        if name in known or name in IGNORED:
            continue
        if name in GONE:
            if value is None or (value is False and name in _OFF_BY_DEFAULT):
                continue
            raise MisconfigurationException(
                f"`Trainer({name}={value!r})` is an argument of 1.x: {GONE[name]}."
            )
        if name not in _RENAMED:
            raise TypeError(
                f"`Trainer({name}=...)`: there is no such argument."
                + did_you_mean(name, [*known, *_RENAMED])
            )
        if value is not None:
            for new, translated in _RENAMED[name](value).items():
                if today.get(new) not in (None, "auto"):
                    raise MisconfigurationException(
                        f"`Trainer({name}={value!r}, {new}={today[new]!r})`: give it once, as "
                        f"`{new}`."
                    )
                advice = _INSTEAD.get(name, f"write `{new}={translated!r}`")
                rank_zero_deprecation(f"`Trainer({name}={value!r})` is of 1.x; {advice}.")
                today[new] = translated
    return today


def _gpus(value: Any) -> dict[str, Any]:
    return {} if value in (0, "0", []) else {"accelerator": "gpu", "devices": value}


_RENAMED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "gpus": _gpus,
    "num_processes": lambda n: {"accelerator": "cpu", "devices": n},
    "tpu_cores": lambda n: {"accelerator": "tpu", "devices": n},
    "replace_sampler_ddp": lambda flag: {"use_distributed_sampler": flag},
    "resume_from_checkpoint": lambda path: {"_resume_from": path},
    "multiple_trainloader_mode": lambda mode: {"_train_mode": mode},
    "track_grad_norm": lambda p: {} if p in (-1, "-1") else {"_track_grad_norm": p},
}


_INSTEAD = {
    "resume_from_checkpoint": "pass the path as `trainer.fit(..., ckpt_path=...)`",
    "multiple_trainloader_mode": "pass the loaders as `CombinedLoader(loaders, mode)`",
    "track_grad_norm": (
        "log `pytorch_lightning.utilities.grad_norm(self, norm_type)` in `on_before_optimizer_step`"
    ),
}


def from_environment(known: Iterable[str]) -> dict[str, Any]:
    """Defaults from `PL_TRAINER_<ARGUMENT>`, read as Python literals where they are some.

    Raises:
        TypeError: For a variable that names no argument.
    """
    found = {}
    names = {f"{ENVIRONMENT_PREFIX}{name.upper()}": name for name in known}
    for variable, text in os.environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        if variable not in names:
            raise TypeError(
                f"The environment variable {variable} names no argument of `Trainer`."
                + did_you_mean(variable, names)
            )
        try:
            found[names[variable]] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            found[names[variable]] = text
    return found


def accept_all_spellings(init: _Init) -> _Init:
    """Let a constructor take defaults from the environment and arguments of 1.x."""
    parameters = inspect.signature(init).parameters.values()
    known = [p.name for p in parameters if p.name != "self" and p.kind is p.KEYWORD_ONLY]
    public = [name for name in known if not name.startswith("_")]

    @wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        if args:
            raise TypeError(
                f"`Trainer({args[0]!r}, ...)`: arguments are passed by name, e.g. "
                "`Trainer(max_epochs=10)`."
            )
        today = older_spellings(kwargs, known)
        init(self, **{**from_environment(public), **today})

    return wrapped  # type: ignore[return-value]  # the same signature, more lenient


# --- checks -------------------------------------------------------------------------------------


def check_count(name: str, value: Any, *, least: int, optional: bool = True) -> None:
    """A whole number from `least` on, or None.

    Raises:
        TypeError: If it is no whole number.
        MisconfigurationException: If it is too small.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}={value!r}`: pass a whole number, e.g. `{name}=1`.")
    if value < least:
        raise MisconfigurationException(
            f"`{name}={value}`: pass a number of at least {least}"
            + (" (-1 means no limit)." if least == -1 else ".")
        )


def check_share(name: str, value: Any) -> None:
    """A number of batches (int) or a share of them (float from 0 to 1)."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(
            f"`{name}={value!r}`: pass a number of batches (an int) or a share of them (a float)."
        )
    if value < 0 or (isinstance(value, float) and value > 1.0):
        raise MisconfigurationException(
            f"`{name}={value}`: pass a float from 0.0 to 1.0 (a share of the batches) or an int "
            "from 0 on (their number)."
        )


def check_val_interval(interval: Any, every_n_epoch: Any) -> None:
    """`val_check_interval` and `check_val_every_n_epoch` together."""
    check_count("check_val_every_n_epoch", every_n_epoch, least=1)
    if seconds("val_check_interval", interval) is not None:
        return
    check_share("val_check_interval", interval)
    if interval == 0 and isinstance(interval, int):
        raise MisconfigurationException("`val_check_interval=0`: pass at least 1 batch.")
    if every_n_epoch is None and not isinstance(interval, int):
        raise MisconfigurationException(
            f"`check_val_every_n_epoch=None, val_check_interval={interval}`: to count batches over "
            "the whole run, `val_check_interval` must be an int or a time."
        )


def check_order(least: str, most: str, low: Any, high: Any) -> None:
    """A minimum that is above its maximum can never be met."""
    if low is not None and high not in (None, -1) and low > high:
        raise MisconfigurationException(
            f"`{least}={low}` is above `{most}={high}`: lower the one or raise the other."
        )


def check_clipping(value: Any, algorithm: Any) -> None:
    """`gradient_clip_val` and `gradient_clip_algorithm`."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"`gradient_clip_val={value!r}`: pass a number, or None for no clipping.")
    if value is not None and value < 0:
        raise MisconfigurationException(f"`gradient_clip_val={value}`: pass a number from 0 on.")
    if algorithm is not None and str(algorithm).lower() not in ("norm", "value"):
        raise MisconfigurationException(
            f"`gradient_clip_algorithm={algorithm!r}`: pass 'norm' or 'value'."
            + did_you_mean(str(algorithm), ("norm", "value"))
        )


def check_accumulation(value: Any) -> None:
    """A number of batches, or `{epoch: number}`."""
    if isinstance(value, dict):
        for epoch, count in value.items():
            check_count("accumulate_grad_batches epoch", epoch, least=0, optional=False)
            check_count(f"accumulate_grad_batches[{epoch}]", count, least=1, optional=False)
        return
    check_count("accumulate_grad_batches", value, least=1)


def check_flag(name: str, value: Any, *, also: tuple[Any, ...] = ()) -> None:
    """True, False or None, or one of `also`."""
    if value is None or isinstance(value, bool) or value in also:
        return
    words = ", ".join(repr(word) for word in also)
    raise TypeError(f"`{name}={value!r}`: pass True or False{' or ' + words if words else ''}.")


def check_path(name: str, value: Any) -> None:
    """A path or a URL, or None."""
    if value is not None and not isinstance(value, str | os.PathLike):
        raise TypeError(f"`{name}={value!r}`: pass a path or a URL.")


def check_barebones(given: dict[str, Any]) -> None:
    """`barebones=True` refuses what it would silently switch off.

    Raises:
        ValueError: Naming the argument.
    """
    refused = {
        "enable_checkpointing": True,
        "logger": True,
        "enable_progress_bar": True,
        "enable_model_summary": True,
        "detect_anomaly": True,
    }
    for name, value in given.items():
        wrong = value == refused[name] if name in refused and isinstance(value, bool) else value
        if name in ("num_sanity_val_steps", "log_every_n_steps") and value == 0:
            continue
        if wrong not in (None, False):
            raise ValueError(
                f"`Trainer(barebones=True, {name}={value!r})`: barebones switches it off; leave "
                "out one of the two."
            )
