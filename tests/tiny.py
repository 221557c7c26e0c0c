"""Small real models for tests: the golden micro configuration with seeded weights."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sam2_hf import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor
from tests.golden.recipe import golden_scene

IMAGE_SIZE = 256
WIDTH = 64
MICRO_TRUNK = {
    "hidden_size": 16,
    "embed_dim_per_stage": [16, 32, 64, 128],
    "blocks_per_stage": [1, 2, 3, 1],
    "global_attention_blocks": [4, 5],
}


def micro_config(version: str = "2.1", image_size: int = IMAGE_SIZE, **overrides) -> Sam2Config:
    """The small configuration that the golden outputs were made with."""
    is_21 = version == "2.1"
    settings = {
        "image_size": image_size,
        "vision_config": {"fpn_hidden_size": WIDTH, "backbone_config": MICRO_TRUNK},
        "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": 128,
        "enable_occlusion_spatial_embedding": is_21,
        "enable_temporal_pos_encoding_for_object_pointers": is_21,
    }
    return Sam2Config(**{**settings, **overrides})


def micro_model(version: str = "2.1", seed: int = 0, **overrides) -> Sam2Model:
    """A model of that configuration with seeded weights, in evaluation mode."""
    torch.manual_seed(seed)
    return Sam2Model(micro_config(version, **overrides)).eval()


def micro_processor(image_size: int = IMAGE_SIZE) -> Sam2Processor:
    """The processor that belongs to it."""
    mask_side = image_size // 4
    return Sam2Processor(
        Sam2ImageProcessor(
            size={"height": image_size, "width": image_size}, mask_size={"height": mask_side, "width": mask_side}
        )
    )


def saved_micro(folder: Path, image_size: int = IMAGE_SIZE, **others) -> str:
    """The folder, with the smallest model and its processor in it.

    Args:
        others: as `micro_model` takes them.
    """
    micro_model(image_size=image_size, **others).save_pretrained(folder)
    micro_processor(image_size).save_pretrained(folder)
    return str(folder)


def scene(height: int = 60, width: int = 90, seed: int = 0) -> np.ndarray:
    """A made-up picture, (height, width, 3) uint8."""
    return golden_scene(height, width, seed=seed)


def scene_image(height: int = 60, width: int = 90, seed: int = 0) -> Image.Image:
    """The same as a PIL image."""
    return Image.fromarray(scene(height, width, seed))
