"""Where a run computes: its device, and through accelerate its precision and processes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from sam2_hf.checkpoints.loading import placement
from sam2_hf.errors import ConfigError
from sam2_hf.training.config import TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


def accelerator_of(config: TrainConfig, device: str) -> Accelerator:
    """The accelerator of this process.

    Args:
        config: of the run.
        device: "auto" for the accelerator of this machine or its CPU, else as `placement` takes it.

    Raises:
        ConfigError: a device or precision that is not to be had here.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    return Accelerator(
        cpu=takes_cpu(device, config.mixed_precision),  # else several processes on CPU do not find each other
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=config.accumulate,
        log_with=list(config.trackers) or None,
        project_dir=config.output,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def takes_cpu(device: str, mixed_precision: str) -> bool:
    """Makes a device the one of this process, and says whether that is the CPU."""
    taken = placement(device)[0]
    if ":" in taken:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError(f"device {device!r} is one device, but each process has its own; pass its kind alone")
        torch.accelerator.set_device_index(torch.device(taken).index)
    is_cpu = taken == "cpu" if device != "auto" else not torch.accelerator.is_available()
    if is_cpu and mixed_precision == "fp16":
        raise ConfigError("fp16 needs a GPU, this run is on the CPU; take bf16 or fp32")
    return is_cpu
