"""Under torchrun a job whose rank died comes back from its last checkpoint."""

import os
import re
import subprocess
import sys
import textwrap

import pytest

_SCRIPT = """
    import os, sys
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.demos.boring_classes import BoringModel

    class Dying(BoringModel):
        def on_train_batch_start(self, batch, batch_idx):
            first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
            if first and batch_idx == 5 and self.global_rank == 1:
                if sys.argv[1] == "kill":
                    os.kill(os.getpid(), 9)
                raise ValueError("boom")

        def on_train_start(self):
            print(f"[from {self.trainer.global_step}]", flush=True)

    saving = ModelCheckpoint(dirpath="saved", every_n_train_steps=2, save_last=True)
    trainer = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=1, limit_train_batches=8,
        limit_val_batches=0, logger=False, enable_progress_bar=False, callbacks=[saving],
        enable_model_summary=False,
    )
    trainer.fit(Dying(), ckpt_path="last")
    print(f"[to {trainer.global_step}]", flush=True)
"""


@pytest.mark.parametrize("fault", [pytest.param("raise", marks=pytest.mark.long), "kill"])
def test_a_job_comes_back_from_the_last_checkpoint(tmp_path, fault):
    script = tmp_path / "x.py"
    script.write_text(textwrap.dedent(_SCRIPT))
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ended = subprocess.run(
        [sys.executable, *torchrun, "--max-restarts=1", str(script), fault],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ended.returncode == 0, ended.stderr
    starts = re.findall(r"\[from (\d+)\]", ended.stdout)
    assert sorted(starts) == ["0", "0", "4", "4"]
    assert re.findall(r"\[to (\d+)\]", ended.stdout) == ["8", "8"]
