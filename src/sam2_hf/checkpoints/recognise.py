"""What a state dict is: layout, version and size, by names first and shapes second, never by a file's name."""

import re
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from sam2_hf.checkpoints.key_map import to_hub, with_fourier_copies
from sam2_hf.errors import CheckpointError, CheckpointMismatchError

ORIGINAL_MARK = "image_encoder.trunk.patch_embed.proj.weight"
HUB_MARK = "vision_encoder.backbone.patch_embed.projection.weight"
VERSION_MARKS = {  # Hub name -> original name; a 2.1 checkpoint has all of them, a 2.0 checkpoint none
    "occlusion_spatial_embedding_parameter": "no_obj_embed_spatial",
    "temporal_positional_encoding_projection_layer.weight": "obj_ptr_tpos_proj.weight",
    "temporal_positional_encoding_projection_layer.bias": "obj_ptr_tpos_proj.bias",
}
SIZES = {(96, 12): "tiny", (96, 16): "small", (112, 24): "base_plus", (144, 48): "large"}
POOLING_BLOCKS = {"tiny": (1, 3, 10), "small": (1, 3, 14), "base_plus": (2, 5, 21), "large": (2, 8, 44)}
BACKGROUND = {"tiny": 7, "small": 7, "base_plus": 14, "large": 7}
FOREIGN = (  # pattern of a name, what has such names
    (r"(detector|tracker\w*|sam3_model)\..*", "SAM 3"),
    (r"image_encoder\.(blocks|patch_embed)\..*|image_encoder\.layers\..*", "SAM 1 or MobileSAM"),
    (r"mask_decoder\.output_upscaling\..*", "SAM 1"),
    (r"(blocks\.\d+\.attn\.qkv|patch_embed\.proj)\..*", "a bare Hiera or another vision transformer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """A SAM 2 state dict in Hub names, and what it is."""

    state_dict: dict[str, Tensor]
    layout: Literal["original", "Hub"]
    version: Literal["2.0", "2.1"] | None  # None: image-only weights are the same in both
    size: str | None  # None: not one of the released sizes
    image_only: bool

    def __str__(self) -> str:
        what = f"SAM {self.version or 2} {self.size or 'of no released size'}"
        return f"{what}, {self.layout} layout, {len(self.state_dict)} tensors" + (
            ", no memory" if self.image_only else ""
        )


def recognise(state_dict: dict[str, Tensor]) -> Recognised:
    """Tells what a state dict is and brings it to Hub names.

    Raises:
        CheckpointError: not SAM 2, both layouts mixed, or names that no SAM 2 has.
        CheckpointMismatchError: half of what makes a 2.1.
    """
    layout = _layout(state_dict)
    hub = to_hub(state_dict) if layout == "original" else with_fourier_copies(state_dict)
    image_only = not any(name.startswith(("memory_attention.", "memory_encoder.")) for name in hub)
    version = None if image_only else _version(hub)
    return Recognised(state_dict=hub, layout=layout, version=version, size=_size(hub), image_only=image_only)


def _layout(state_dict: dict[str, Tensor]) -> str:
    original, hub = ORIGINAL_MARK in state_dict, HUB_MARK in state_dict
    if original and hub:
        raise CheckpointError(f"two layouts are mixed in one file: it has {ORIGINAL_MARK} and {HUB_MARK}")
    if original or hub:
        return "original" if original else "Hub"
    family = next(
        (family for pattern, family in FOREIGN if any(re.fullmatch(pattern, name) for name in state_dict)), None
    )
    first = next(iter(state_dict))
    if family:
        raise CheckpointError(f"this is a checkpoint of {family}, not of SAM 2 (it has {first!r}, ...)")
    raise CheckpointError(
        f"not a SAM 2 checkpoint: neither {ORIGINAL_MARK} nor {HUB_MARK} among {len(state_dict)} names"
    )


def _version(hub: dict[str, Tensor]) -> str:
    present = [original for name, original in VERSION_MARKS.items() if name in hub]
    if present and len(present) != len(VERSION_MARKS):
        raise CheckpointMismatchError(
            f"has {', '.join(present)} but not all of {', '.join(VERSION_MARKS.values())}: "
            "a damaged file or an unknown variant"
        )
    return "2.1" if present else "2.0"


def _size(hub: dict[str, Tensor]) -> str | None:
    prefix = "vision_encoder.backbone."
    numbers = [match for name in hub if (match := re.match(rf"{re.escape(prefix)}blocks\.(\d+)\.(.*)", name))]
    blocks = 1 + max((int(match[1]) for match in numbers), default=-1)
    stem = hub[HUB_MARK].shape[0]
    size = SIZES.get((stem, blocks))
    if size is None:
        return None
    pooling = tuple(sorted(int(match[1]) for match in numbers if match[2] == "proj.weight"))
    background = hub[prefix + "pos_embed"].shape[-1] if prefix + "pos_embed" in hub else BACKGROUND[size]
    is_release = pooling == POOLING_BLOCKS[size] and background == BACKGROUND[size]
    return size if is_release else None
