"""What `srun` does, on one machine: starts tasks with the variables of SLURM, ends all with one.

fake_srun.py TASKS COMMAND ...
"""

import os
import subprocess
import sys
import time


def main():
    tasks, command = int(sys.argv[1]), sys.argv[2:]
    job = {
        "SLURM_JOB_ID": str(10_000 + os.getpid() % 10_000),
        "SLURM_JOB_NAME": "train",
        "SLURM_NODELIST": "localhost",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NTASKS": str(tasks),
        "SLURM_NTASKS_PER_NODE": str(tasks),
        "SLURM_STEP_ID": "0",
    }
    started = [
        subprocess.Popen(
            command, env={**os.environ, **job, "SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)}
        )
        for n in range(tasks)
    ]
    codes = [None]
    while None in codes and not any(codes):
        time.sleep(0.1)
        codes = [task.poll() for task in started]
    for task in started:
        if task.poll() is None:
            task.kill()
        task.wait()
    sys.exit(max(abs(code) for code in codes if code is not None))


if __name__ == "__main__":
    main()
