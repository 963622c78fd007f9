import os
import signal

import pytest
import torch
from tests.small_runs import Memory, Small

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import SLURMEnvironment

EPOCHS = 3


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A job of SLURM with one task; `scontrol` writes down what it was called with."""
    calls = tmp_path / "calls"
    command = tmp_path / "bin" / "scontrol"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexit $SCONTROL_GIVES\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SCONTROL_GIVES", "0")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    return lambda: calls.read_text().splitlines() if calls.exists() else []


class Signalled(pl.Callback):
    """Sends a signal to its process in a hook, the nth time that it comes."""

    def __init__(self, hook="on_train_batch_end", at=6, number=signal.SIGUSR1):
        self.hook, self.left, self.number = hook, at, number
        self.trained, self.errors = [], []

    def send(self):
        os.kill(os.getpid(), self.number)

    def came(self, hook):
        self.left -= hook == self.hook
        if hook == self.hook and self.left == 0:
            self.send()

    def on_train_batch_end(self, trainer, *args):
        self.trained.append(trainer.global_step)
        self.came("on_train_batch_end")

    def on_validation_batch_end(self, *args):
        self.came("on_validation_batch_end")

    def on_train_epoch_end(self, *args):
        self.came("on_train_epoch_end")

    def on_test_batch_end(self, *args):
        self.came("on_test_batch_end")

    def on_exception(self, trainer, module, exception):
        self.errors.append(exception)


NEVER = 10**6


def train(callback=None, *, logger=False, **options):
    torch.manual_seed(7)
    module = Small()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=EPOCHS,
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=callback,
        **options,
    )
    return trainer, module


def weights(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


@pytest.fixture
def whole():
    """What a run that was never interrupted ends with."""
    trainer, module = train(plugins=SLURMEnvironment(auto_requeue=False))
    trainer.fit(module)
    return weights(module)


@pytest.mark.parametrize(
    ("hook", "at"),
    [
        ("on_train_batch_end", 6),
        ("on_train_batch_end", 8),
        ("on_train_batch_end", 12),
        ("on_validation_batch_end", 4),
        ("on_train_epoch_end", 2),
    ],
)
def test_a_job_goes_back_to_the_queue_and_on_from_there(job, tmp_path, whole, hook, at):
    signalled = Signalled(hook, at)
    interrupted, module = train(signalled, num_sanity_val_steps=0)
    with pytest.raises(SystemExit) as ended:
        interrupted.fit(module)
    assert ended.value.code == 0
    assert job() == ["requeue 4711"]
    assert (tmp_path / "hpc_ckpt_1.ckpt").is_file()
    assert interrupted.state.status == "interrupted"
    assert not signalled.errors

    later = Signalled(at=NEVER)
    resumed, module = train(later)
    resumed.fit(module)
    assert resumed.global_step == 4 * EPOCHS
    assert len(later.trained) == 4 * EPOCHS - interrupted.global_step
    assert all(map(torch.equal, weights(module), whole))
    assert job() == ["requeue 4711"]


def test_each_time_has_its_own_number(job, tmp_path):
    for _ in range(2):
        trainer, module = train(Signalled(at=2))
        with pytest.raises(SystemExit):
            trainer.fit(module)
    assert trainer.global_step == 4
    assert sorted(file.name for file in tmp_path.glob("*.ckpt")) == [
        "hpc_ckpt_1.ckpt",
        "hpc_ckpt_2.ckpt",
    ]
    assert len(job()) == 2


def test_loggers_hear_that_the_job_was_requeued(job):
    logger = Memory()
    trainer, module = train(Signalled(), logger=logger)
    with pytest.raises(SystemExit):
        trainer.fit(module)
    assert logger.calls[-1] == ("finalize", "finished")


def test_a_task_of_an_array_is_requeued_by_both_numbers(job, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "4700")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "11")
    trainer, module = train(Signalled())
    with pytest.raises(SystemExit):
        trainer.fit(module)
    assert job() == ["requeue 4700_11"]


def test_a_job_does_not_go_on_from_what_another_left(job, monkeypatch):
    trainer, module = train(Signalled())
    with pytest.raises(SystemExit):
        trainer.fit(module)
    monkeypatch.setenv("SLURM_JOB_ID", "4712")
    other, module = train(Signalled(at=2))
    with pytest.warns(UserWarning, match="left by job 4711; this is"), pytest.raises(SystemExit):
        other.fit(module)
    assert other.global_step == 2
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    first = Signalled(at=NEVER)
    train(first)[0].fit(Small())
    assert first.trained[0] == 7


def test_a_file_that_does_not_say_whose_it_is_will_do(job, tmp_path):
    trainer, module = train(max_steps=5)
    trainer.fit(module)
    trainer.save_checkpoint(tmp_path / "hpc_ckpt_3.ckpt")
    trainer, module = train()
    again = Signalled(at=NEVER)
    trainer.callbacks.append(again)
    trainer.fit(module)
    assert again.trained[0] == 6


def test_a_second_fit_begins_where_the_first_one_ended(job, tmp_path):
    trainer, module = train(max_steps=5)
    trainer.fit(module)
    trainer.save_checkpoint(tmp_path / "hpc_ckpt_1.ckpt")
    trainer.fit_loop.max_steps = 7
    trainer.fit(module)
    assert trainer.global_step == 7


def test_without_slurm_a_file_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    trainer, module = train(max_steps=5)
    trainer.fit(module)
    trainer.save_checkpoint(tmp_path / "hpc_ckpt_1.ckpt")
    again, module = train(max_steps=1)
    again.fit(module)
    assert again.global_step == 1


def test_a_controller_that_refuses(job, tmp_path, monkeypatch):
    monkeypatch.setenv("SCONTROL_GIVES", "1")
    trainer, module = train(Signalled())
    with (
        pytest.warns(UserWarning, match="`scontrol requeue 4711` gave 1: .* not requeued"),
        pytest.raises(SystemExit) as ended,
    ):
        trainer.fit(module)
    assert ended.value.code == 143
    assert (tmp_path / "hpc_ckpt_1.ckpt").is_file()


def test_another_signal_and_the_handler_of_the_user(job):
    heard = []
    signal.signal(signal.SIGUSR1, lambda *args: heard.append("usr1"))
    before = signal.signal(signal.SIGHUP, lambda *args: heard.append("hup"))
    try:
        chosen = SLURMEnvironment(requeue_signal=signal.SIGHUP)
        trainer, module = train(Signalled(number=signal.SIGUSR1), plugins=chosen)
        trainer.fit(module)
        assert (heard, job()) == (["usr1"], [])
        trainer, module = train(Signalled(number=signal.SIGHUP), plugins=chosen)
        with pytest.raises(SystemExit):
            trainer.fit(module)
        assert (heard, job()) == (["usr1", "hup"], ["requeue 4711"])
        signal.raise_signal(signal.SIGHUP)
        assert heard == ["usr1", "hup", "hup"]
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_nothing_is_done_unless_wanted(job):
    heard = []
    signal.signal(signal.SIGUSR1, lambda *args: heard.append("usr1"))
    off = SLURMEnvironment(auto_requeue=False)
    trainer, module = train(Signalled(), plugins=off)
    trainer.fit(module)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    assert (trainer.global_step, heard, job()) == (4 * EPOCHS, ["usr1"], [])


def test_during_a_test_what_was_trained_is_kept(job, tmp_path):
    trainer, module = train(plugins=SLURMEnvironment())
    trainer.fit(module)
    trainer.callbacks.append(Signalled("on_test_batch_end", at=1))
    with pytest.raises(SystemExit) as ended:
        trainer.test(module)
    assert ended.value.code == 0
    assert job() == ["requeue 4711"]
    again, module = train()
    again.fit(module)
    assert again.global_step == 4 * EPOCHS


def test_workers_of_a_loader_do_not_mind_the_signal(job, tmp_path):
    class Workers(Small):
        def train_dataloader(self):
            data = super().train_dataloader().dataset
            return torch.utils.data.DataLoader(data, 2, num_workers=1, persistent_workers=True)

    class ToAll(Signalled):
        def send(self):
            for child in torch.multiprocessing.active_children():
                os.kill(child.pid, signal.SIGUSR1)
            super().send()

    trainer, _ = train(ToAll(at=2))
    with pytest.raises(SystemExit) as ended:
        trainer.fit(Workers())
    assert ended.value.code == 0
    assert [file.name for file in tmp_path.glob("*.ckpt")] == ["hpc_ckpt_1.ckpt"]


def test_before_training_there_is_nothing_to_save(job, tmp_path):
    trainer, module = train(Signalled("on_validation_batch_end", at=1))
    with pytest.raises(SystemExit) as ended:
        trainer.fit(module)
    assert (ended.value.code, job()) == (0, ["requeue 4711"])
    assert not list(tmp_path.glob("*.ckpt"))
