"""`run.json`: what made the numbers. Metrics without it cannot be compared."""

import hashlib
from dataclasses import asdict

import torch

from sam2_hf.tracking.policy import TrackingPolicy


def weights_digest(model) -> str:
    """SHA-256 of all weights in the order of their names, as float32, after any rounding to the model's dtype."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def model_facts(model, described: str) -> dict:
    """What is known of the model.

    Args:
        described: how it was named and recognised.
    """
    return {
        "model": described,
        "version": model.config.version,
        "image_size": model.config.image_size,
        "weights_sha256": weights_digest(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": device_name(model.device),
        "attention": model.config._attn_implementation,
    }


def device_name(device: torch.device) -> str:
    """The device, with the card's name."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def library_versions() -> dict[str, str]:
    """Versions of what computes."""
    from importlib.metadata import version

    return {name: version(name) for name in ("sam2-hf", "torch", "transformers", "numpy", "scipy", "pillow")}


def policy_record(policy: TrackingPolicy) -> dict:
    """All options of tracking as plain values."""
    record = asdict(policy)
    record["memory_dtype"] = None if policy.memory_dtype is None else str(policy.memory_dtype).removeprefix("torch.")
    return record
