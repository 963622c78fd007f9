"""A job of SLURM with two tasks goes back to the queue together, and on from there."""

import os
import signal

import torch
from tests.distributed.ranks import run_ranks
from tests.small_runs import Small

import pytorch_lightning as pl


class Signalled(pl.Callback):
    def __init__(self, ranks, at):
        self.ranks, self.at, self.steps = ranks, at, []

    def on_train_batch_end(self, trainer, *args):
        self.steps.append(trainer.global_step)
        if trainer.global_step == self.at and trainer.global_rank in self.ranks:
            os.kill(os.getpid(), signal.SIGUSR1)


def _task(folder, ranks, at):
    rank = os.environ.pop("RANK")
    del os.environ["LOCAL_RANK"]
    os.environ.update(
        SLURM_JOB_ID="4711",
        SLURM_JOB_NAME="train",
        SLURM_NTASKS="2",
        SLURM_NNODES="1",
        SLURM_NODEID="0",
        SLURM_PROCID=rank,
        SLURM_LOCALID=rank,
    )
    torch.manual_seed(1)
    module, callback = Small(), Signalled(ranks, at)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=4,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callback,
    )
    code = None
    try:
        trainer.fit(module)
    except SystemExit as ended:
        code = ended.code
    weights = [parameter.tolist() for parameter in module.parameters()]
    return code, callback.steps, weights


def test_both_tasks_save_and_go_on_together_though_one_heard_the_signal(tmp_path):
    calls, command = tmp_path / "calls", tmp_path / "bin" / "scontrol"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    command.chmod(0o755)
    env = {"PATH": f"{command.parent}:{os.environ['PATH']}"}

    def job(folder, ranks, at):
        return run_ranks(_task, 2, str(tmp_path / folder), ranks, at, env=env, torchrun=False)

    whole = job("whole", (), -1)
    assert [code for code, _, _ in whole] == [None, None]
    broken = job("broken", (1,), 3)
    assert [code for code, _, _ in broken] == [0, 0]
    assert calls.read_text() == "requeue 4711\n"
    assert [file.name for file in (tmp_path / "broken").iterdir()] == ["hpc_ckpt_1.ckpt"]
    done = broken[0][1]
    assert done == broken[1][1]
    assert 3 <= done[-1] < 8
    again = job("broken", (), -1)
    assert [code for code, _, _ in again] == [None, None]
    assert done + again[0][1] == whole[0][1]
    assert again[0][2] == again[1][2] == whole[0][2]
