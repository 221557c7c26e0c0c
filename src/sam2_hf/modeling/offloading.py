"""Models whose weights accelerate keeps elsewhere (`device_map`, `cpu_offload`, `disk_offload`).

Accelerate brings the weights of a module in when its `forward` runs. The verbs run without the model's own `forward`,
so they bring in what the model itself owns (embeddings that belong to no part).
"""

from collections.abc import Callable
from functools import wraps

import torch
from transformers import PreTrainedModel


def brings_own_weights(verb: Callable) -> Callable:
    """A method that finds the model's own parameters where they are needed, wherever they are kept."""

    @wraps(verb)
    def call(model: PreTrainedModel, *args, **kwargs):
        hook = getattr(model, "_hf_hook", None)
        is_away = hook is not None and any(parameter.is_meta for parameter in model.parameters(recurse=False))
        if not is_away:  # also inside another verb, or inside `forward`
            return verb(model, *args, **kwargs)
        hook.pre_forward(model)
        try:
            return verb(model, *args, **kwargs)
        finally:
            hook.post_forward(model, None)

    return call


def execution_device(model: PreTrainedModel) -> torch.device:
    """Where the model computes, which is not where offloaded weights are."""
    hook = getattr(model, "_hf_hook", None)
    for part in getattr(hook, "hooks", (hook,)):  # accelerate chains hooks
        if getattr(part, "execution_device", None) is not None:
            return torch.device(part.execution_device)
    return model.device
