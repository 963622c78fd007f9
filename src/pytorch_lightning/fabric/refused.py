"""Names that are known but cannot be had here, and what to write instead."""

_SEVERAL = (
    "training in several processes is not part of this release. "
    "Pass strategy='auto' with devices=1."
)
_REMOVED = "was removed from the API. Pass strategy="

STRATEGIES = {
    "dp": f"{_REMOVED}'ddp' where several devices are needed, else 'auto'.",
    "ddp2": f"{_REMOVED}'ddp' where several devices are needed, else 'auto'.",
    "horovod": f"{_REMOVED}'ddp' where several devices are needed, else 'auto'.",
    "bagua": f"{_REMOVED}'ddp' where several devices are needed, else 'auto'.",
    "hivemind": f"{_REMOVED}'ddp' where several devices are needed, else 'auto'.",
    "ddp_sharded": f"{_REMOVED}'fsdp' where parameters have to be split, else 'auto'.",
    "ddp_sharded_spawn": f"{_REMOVED}'fsdp' where parameters have to be split, else 'auto'.",
    "ddp_fully_sharded": f"{_REMOVED}'fsdp' where parameters have to be split, else 'auto'.",
    "colossalai": f"{_REMOVED}'fsdp' where parameters have to be split, else 'auto'.",
    "ipu_strategy": f"{_REMOVED}'auto'.",
    "hpu_parallel": f"{_REMOVED}'auto'.",
    "hpu_single": f"{_REMOVED}'auto'.",
}
SEVERAL_PROCESSES = (
    "ddp",
    "ddp_spawn",
    "ddp_fork",
    "ddp_notebook",
    "fsdp",
    "fsdp_cpu_offload",
    "fsdp_native",
    "deepspeed",
    "deepspeed_stage_1",
    "deepspeed_stage_2",
    "deepspeed_stage_2_offload",
    "deepspeed_stage_3",
    "deepspeed_stage_3_offload",
    "deepspeed_stage_3_offload_nvme",
    "xla",
    "xla_debug",
    "tpu_spawn",
)
SINGLE_ELSEWHERE = ("single_xla", "single_tpu")
ACCELERATORS_ELSEWHERE = ("gpu", "cuda", "mps", "tpu")
ACCELERATORS_REMOVED = ("hpu", "ipu")
PRECISIONS_ELSEWHERE = ("transformer-engine", "transformer-engine-float16")


def why_no_strategy(name: str) -> str | None:
    """The end of a sentence that begins with the strategy's name, if it is known."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    if name in SINGLE_ELSEWHERE:
        return "runs on a TPU, which is not part of this release. Pass strategy='auto'."
    plain_name = name.split("_find_unused_parameters_", 1)[0]
    return _SEVERAL if plain_name in SEVERAL_PROCESSES else None
