"""Deterministic stand-in weights, inputs and pictures, keyed by name.

The reference outputs in this folder were computed with these weights, not with
trained ones: every tensor is a pure function of its name in the original
checkpoint layout and of its shape, so nothing large has to be stored.

    layout = json.load(open("layouts/sam2.1_hiera_tiny.json"))   # name -> shape
    state_dict = golden_state_dict(layout)                       # name -> float32 tensor
    torch.save({"model": state_dict}, "sam2.1_hiera_tiny.pt")    # the original file format
"""

import zlib

import numpy as np
import torch

UNIT_SCALE = ("pos_embed", "gaussian_matrix")
SMALL_EMBEDDING = ("tpos_enc", "no_mem", "no_obj", "pos_embed_window")


def golden_tensor(name: str, shape: list[int]) -> torch.Tensor:
    """One float32 tensor of ``shape``: Philox normal noise keyed by crc32(name), scaled by its role."""
    noise = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode()))).standard_normal(
        shape, dtype=np.float32
    )
    if name.endswith("pred_obj_score_head.layers.2.weight"):
        value = 0.5 * noise
    elif any(part in name for part in SMALL_EMBEDDING):
        value = 0.2 * noise
    elif any(part in name for part in UNIT_SCALE):
        value = noise
    elif name.endswith("gamma"):
        value = 0.5 + 0.1 * noise
    elif len(shape) == 1 and name.endswith("weight"):
        value = 1.0 + 0.1 * noise
    elif len(shape) == 1:
        value = 0.1 * noise
    elif "output_upscaling" in name and len(shape) == 4:  # transposed convolution: (in, out, k, k)
        value = noise / np.sqrt(shape[0])
    else:
        value = noise / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))


def golden_state_dict(layout: dict[str, list[int]], object_score_bias: float) -> dict[str, torch.Tensor]:
    """Stand-in state dict of an original checkpoint with the given parameter names and shapes.

    ``object_score_bias`` (each reference file names its own) replaces the last bias of the object
    score head, so that a scenario holds both present and absent objects.
    """
    state_dict = {name: golden_tensor(name, shape) for name, shape in layout.items()}
    state_dict["sam_mask_decoder.pred_obj_score_head.layers.2.bias"].fill_(object_score_bias)
    return state_dict


def golden_input(name: str, shape: list[int]) -> torch.Tensor:
    """Unit normal float32 input of ``shape`` for a component test, keyed by ``name``."""
    noise = np.random.Generator(np.random.Philox(key=zlib.crc32(name.encode()))).standard_normal(
        shape, dtype=np.float32
    )
    return torch.from_numpy(noise)


def golden_scene(height: int, width: int, frame: int = 0, seed: int = 0) -> np.ndarray:
    """A picture (height, width, 3) uint8: moving discs and rectangles on a drifting, noisy texture.

    Frame ``t`` of a clip is the same scene with every shape moved ``t`` steps along its own velocity.
    """
    return _draw(height, width, frame, seed)[0]


def golden_scene_ids(height: int, width: int, frame: int = 0, seed: int = 0) -> np.ndarray:
    """The object ids (height, width) uint8 of ``golden_scene``: 0 is background, 1..9 the shapes, later ones in front."""
    return _draw(height, width, frame, seed)[1]


def _draw(height: int, width: int, frame: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.Generator(np.random.Philox(key=1000 + seed))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.int64)
    picture = np.stack(
        [96 + ((rows * (3 + c) + (columns + 3 * frame) * (5 - c)) // 16) % 64 for c in range(3)], axis=-1
    )
    ids = np.zeros((height, width), dtype=np.uint8)
    for index in range(9):
        y, x, dy, dx = (int(v) for v in generator.integers([0, 0, -6, -10], [height, width, 7, 11]))
        half_height, half_width = (
            int(v) for v in generator.integers([height // 16, width // 16], [height // 5, width // 5])
        )
        colour = generator.integers(0, 256, size=3)
        y, x = y + dy * frame, x + dx * frame
        if index % 2:
            inside = (abs(rows - y) <= half_height) & (abs(columns - x) <= half_width)
        else:
            inside = ((rows - y) * half_width) ** 2 + ((columns - x) * half_height) ** 2 <= (
                half_height * half_width
            ) ** 2
        stripes = 24 * (((rows + columns) // (4 + index)) % 2)
        picture = np.where(inside[..., None], colour + stripes[..., None], picture)
        ids[inside] = index + 1
    speckle = generator.integers(-8, 9, size=(height, width, 1))
    return np.clip(picture + speckle, 0, 255).astype(np.uint8), ids
