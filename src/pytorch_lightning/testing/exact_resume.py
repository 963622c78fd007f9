"""Whether a module can be stopped after any batch and resumed as if it had not been."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning.callbacks.checkpoint import Checkpoint
from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.testing.differences import say_difference
from pytorch_lightning.testing.fresh import STARTS, Failed, call_in_process, usual_start
from pytorch_lightning.testing.story import ATTRIBUTES, Rows, Story, Watcher
from pytorch_lightning.trainer.trainer import Trainer
from pytorch_lightning.utilities.seed import seed_everything

_SEED = 1
_AN_EPOCH = "hook on_train_epoch_start"


class _Task(NamedTuple):
    """What is trained."""

    module: Any
    data: Any
    val_data: Any
    every: int
    options: Mapping[str, Any]


def assert_exact_resume(
    module: LightningModule | Callable[[], LightningModule],
    data: Any = None,
    *,
    val_data: Any = None,
    every: int = 1,
    ignore: Sequence[str] = (),
    start: str | None = None,
    **trainer_options: Any,
) -> int:
    """Stop a training after every batch, resume it in a new process, and compare everything.

    Trained are: the whole run twice, which must not differ; the run while it is saved after each
    batch and epoch; and the rest of it from each of these files, in a process of its own that is
    seeded by nobody. Batches, losses, weights, states of optimizers and schedulers, metrics, logged
    values, hooks and random generators have to be equal bit for bit, and so have plain attributes
    of the module, callbacks, datamodule and data sets.

    Args:
        module: A module, or a function that makes one. The one that is passed stays as it is.
        data: Loaders for training, a datamodule, or a function that makes one of these; None for
            the loaders of the module.
        val_data: Loaders for validation, or a function that makes them.
        every: Resume after each so many batches, and after each epoch.
        ignore: What may differ: attributes by name ("started_at"), or anything by the words of
            the message ("logged values").
        start: "fork" or "spawn"; new processes by copying this one, or by starting Python, which
            takes seconds each and needs picklable arguments. None chooses.
        trainer_options: Of `Trainer`, on the CPU unless you say otherwise; `max_epochs=3`.

    Returns:
        From how many files the run was resumed.

    Raises:
        AssertionError: Naming the first thing that differs.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> from pytorch_lightning.demos.boring_classes import BoringModel, RandomDataset
        >>> data = DataLoader(RandomDataset(32, 8), batch_size=4, shuffle=True)
        >>> assert_exact_resume(BoringModel(), data, max_epochs=2, limit_val_batches=0)
        6
    """
    _check(every, start, trainer_options)
    start = start or usual_start()
    task = _Task(module, data, val_data, every, trainer_options)
    name = type(module).__name__ if isinstance(module, LightningModule) else "The module"
    with tempfile.TemporaryDirectory() as name_of_folder:
        folder = Path(name_of_folder)
        whole = _whole(task, folder / "whole", None, start)
        saved = _whole(task, folder / "saved", folder, start)
        if said := say_difference(whole.seen, saved.seen, ignore):
            again = _whole(task, folder / "again", None, start)
            raise AssertionError(_not_repeatable(name, whole, again, said, ignore))
        for number, moment in enumerate(saved.moments):
            where = f"{name} does not resume exactly: resumed after {moment.place}"
            try:
                resumed = call_in_process(
                    _resume, task, folder / str(number), moment.path, start=start
                )
            except Failed as error:
                raise AssertionError(f"{where}, it failed:\n{error}") from None
            rest = saved.seen[moment.seen :]
            lasting = number == 0 or any(seen.what == _AN_EPOCH for seen in rest)
            left_out = ignore if lasting else [*ignore, ATTRIBUTES]  # not enough time to set them
            said = say_difference(rest, resumed.seen, left_out)
            if said:
                causes = _causes(saved, resumed, number, ignore)
                raise AssertionError("\n".join([f"{where}, {said}", *causes]))
    return len(saved.moments)


def _check(every: int, start: str | None, options: Mapping[str, Any]) -> None:
    if every < 1:
        raise ValueError(f"`every={every}`: pass 1 for every batch, 2 for every other one, ...")
    if start not in (None, *STARTS):
        raise ValueError(f"`start={start!r}`: pass 'fork', 'spawn' or None.")
    devices, nodes = options.get("devices", 1), options.get("num_nodes", 1)
    if devices not in (1, "1", [0], "auto") or nodes != 1:
        raise ValueError(
            f"`devices={devices!r}`, `num_nodes={nodes}`: `assert_exact_resume` trains in one "
            "process. Several ranks: `pytorch_lightning.testing.simulate`."
        )


def _whole(task: _Task, folder: Path, files: Path | None, start: str) -> Story:
    try:
        story: Story = call_in_process(_train, task, folder, files, start=start)
    except Failed as error:
        raise RuntimeError(f"The run failed, before anything was resumed:\n{error}") from None
    return story


def _train(task: _Task, folder: Path, files: Path | None) -> Story:
    seed_everything(_SEED, verbose=False)
    return _fit(task, folder, files, None)


def _resume(task: _Task, folder: Path, path: str) -> Story:
    return _fit(task, folder, None, path)


def _fit(task: _Task, folder: Path, files: Path | None, path: str | None) -> Story:
    """One run in this process; its story from the first hook after `on_train_start`."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # of this process alone
    story = Story()
    watcher = Watcher(story, files, task.every)
    given = _made(task.options.get("callbacks", ()), list | tuple) or ()
    callbacks = [*given] if isinstance(given, list | tuple) else [given]
    logger = task.options.get("logger", False)
    loggers = [logger] if isinstance(logger, Logger) else list(logger or [])
    options = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "devices": 1,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
        "default_root_dir": folder,
        **task.options,
        "callbacks": [watcher, *callbacks],
        "logger": [*loggers, Rows(story)],
    }
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer = Trainer(**options)
        module = _made(task.module, LightningModule)
        data = _made(task.data, LightningDataModule)
        trainer.fit(module, data, _made(task.val_data, LightningDataModule), ckpt_path=path)
        watcher.finish(trainer)
    story.warnings = [str(warning.message) for warning in said]
    return story


def _made(value: Any, kinds: Any) -> Any:
    """What a function makes, or the value itself."""
    if isinstance(value, kinds) or not callable(value) or hasattr(value, "__iter__"):
        return value
    return value()


def _not_repeatable(name: str, whole: Story, again: Story, said: str, ignore: Any) -> str:
    if other := say_difference(whole.seen, again.seen, ignore):
        return (
            f"{name} trains differently each time under one seed, so that it cannot resume "
            f"exactly: the second time, {other}\nThe clock, random generators that "
            "`seed_everything` does not know and operations without a fixed order do this; for "
            "the last, see `Trainer(deterministic=True)`."
        )
    return f"Saving changes how {name} trains: in the run that is saved, {said}"


def _causes(saved: Story, resumed: Story, number: int, ignore: Sequence[str]) -> list[str]:
    """What may be behind a difference."""
    lines = []
    before, after = saved.held.get(number, {}), resumed.held.get(-1, {})
    for owner in before:
        was, now = before[owner], after.get(owner, {})
        for path in [*was, *(path for path in now if path not in was)]:
            if was.get(path) != now.get(path) and not any(path.startswith(i) for i in ignore):
                lines.append(
                    f"`{path}` of the {owner.kind} {owner.name} is "
                    f"{was.get(path, 'missing')} in the whole run and "
                    f"{now.get(path, 'missing')} in the resumed one at that point, and no state "
                    f"holds it: {owner.cure}."
                )
    if len(lines) > 5:
        lines[5:] = [f"... and {len(lines) - 5} more attributes."]
    for generator in saved.own_generators:
        lines.append(
            f"{generator} is a random generator of its own in worker processes, whose state "
            "nobody can see: draw from the global ones of torch, NumPy and Python."
        )
    for text in resumed.warnings:
        if text not in saved.warnings:
            lines.append(f"It warned: {text}")
    return lines
