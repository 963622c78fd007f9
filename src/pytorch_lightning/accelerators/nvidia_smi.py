"""What `nvidia-smi` tells of a GPU."""

from __future__ import annotations

import shutil
import subprocess

from pytorch_lightning.utilities.environ import read_text

_QUESTIONS = {
    "utilization.gpu": "%",
    "memory.used": "MB",
    "memory.free": "MB",
    "utilization.memory": "%",
    "fan.speed": "%",
    "temperature.gpu": "\u00b0C",
    "temperature.memory": "\u00b0C",
}


def utilization(index: int) -> dict[str, float]:
    """Use, memory, fan and temperature by name and unit; 0 for what a card does not tell.

    Args:
        index: As torch counts, among the devices in `CUDA_VISIBLE_DEVICES`.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        raise FileNotFoundError(
            "`nvidia-smi`: no such program. It comes with the driver of NVIDIA; put its folder "
            "into PATH."
        )
    answer = subprocess.run(
        [
            program,
            f"--query-gpu={','.join(_QUESTIONS)}",
            "--format=csv,nounits,noheader",
            f"--id={_name_of(index)}",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    values = [_number(text) for text in answer.strip().split(",")]
    names = (f"{question} ({unit})" for question, unit in _QUESTIONS.items())
    return dict(zip(names, values, strict=True))


def _name_of(index: int) -> str:
    """Index or UUID of a card, as the driver knows it."""
    visible = read_text("CUDA_VISIBLE_DEVICES")
    return str(index) if visible is None else visible.split(",")[index].strip()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
