"""TPUs, and whatever else the runtime of torch_xla computes on."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from pytorch_lightning.accelerators.accelerator import Accelerator
from pytorch_lightning.accelerators.registry import Registry
from pytorch_lightning.utilities.environ import read_int, read_text
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.imports import import_optional


class XLAAccelerator(Accelerator):
    """Computes on TPUs through torch_xla.

    `PJRT_DEVICE=CPU` lets the same programs run on the CPU, to be tried out.
    """

    def setup_device(self, device: torch.device) -> None:
        """Bring torch_xla, which makes 'xla' a device; refuse one of another kind."""
        if device.type != "xla":
            raise MisconfigurationException(
                f"`device={device}`: this accelerator takes 'xla' only. Pass the accelerator that "
                "belongs to the device."
            )
        import_optional("torch_xla", purpose="`accelerator='tpu'`")

    def get_device_stats(self, device: torch.device | str | int) -> dict[str, Any]:
        """Memory in use and in all, in megabytes, where the runtime counts it."""
        xla_model = import_optional("torch_xla.core.xla_model", purpose="`accelerator='tpu'`")
        try:
            memory = xla_model.get_memory_info(device)
        except RuntimeError:  # the CPU does not count
            return {}
        used, limit = memory["bytes_used"], memory["bytes_limit"]
        return {"used_memory_mb": used / 1e6, "free_memory_mb": (limit - used) / 1e6}

    def teardown(self) -> None:
        """Nothing was taken."""

    @staticmethod
    def parse_devices(devices: Any) -> int | list[int]:
        """All devices, one of them, or the one of an index: `8`, `1`, `[3]`, `"3,"`."""
        count = XLAAccelerator.auto_device_count()
        wanted = _from_text(devices) if isinstance(devices, str) else devices
        if wanted in (-1, "auto"):
            wanted = count
        if isinstance(wanted, int) and not isinstance(wanted, bool) and wanted in (1, count):
            return wanted
        if isinstance(wanted, list | tuple) and len(wanted) == 1 and wanted[0] in range(count):
            return list(wanted)
        raise MisconfigurationException(
            f"`devices={devices!r}`: this machine has {count} XLA device(s). Pass 1, {count}, "
            "'auto', or a list with one index."
        )

    @staticmethod
    def get_parallel_devices(devices: int | list[int]) -> list[torch.device]:
        """One torch device for each process."""
        indices = range(devices) if isinstance(devices, int) else devices
        return [torch.device("xla", index) for index in indices]

    @staticmethod
    def auto_device_count() -> int:
        """All devices of this machine, counted without taking them."""
        if _runtime() == "CPU":
            return read_int("CPU_NUM_DEVICES") or 1
        if _runtime() != "TPU":
            return 0
        tpu = import_optional("torch_xla._internal.tpu", purpose="`accelerator='tpu'`")
        return int(tpu.num_available_devices())

    @staticmethod
    def is_available() -> bool:
        """Whether there is a TPU, or `PJRT_DEVICE=CPU` says that none is needed."""
        return _runtime() in ("TPU", "CPU")

    @staticmethod
    def name() -> str:
        """Its name in the registry."""
        return "tpu"

    @classmethod
    def register_accelerators(cls, accelerator_registry: Registry) -> None:
        """Register `tpu`."""
        accelerator_registry.register("tpu", cls, description=cls.__name__)


def _runtime() -> str | None:
    """What torch_xla computes on; None without it, or where it found nothing."""
    if find_spec("torch_xla") is None:
        return None
    chosen = read_text("PJRT_DEVICE")
    if chosen is not None:
        return chosen.upper()
    import_optional("torch_xla", purpose="`accelerator='tpu'`")  # it looks for TPUs when imported
    return "TPU" if read_text("PJRT_DEVICE") == "TPU" else None


def _from_text(devices: str) -> Any:
    text = devices.strip()
    parts = [part for part in text.split(",") if part.strip()]
    if text == "auto" or not all(part.strip().lstrip("-").isdigit() for part in parts):
        return text
    return [int(part) for part in parts] if "," in text else int(text)
