"""Measures that a stream needs the same memory after 50 and after 1000 frames, and what a frame of an object costs.

python -m scripts.measure_memory      # from the root of the repository
"""

import gc
import resource

import torch

from sam2_hf import Sam2InferenceSession
from tests.golden.recipe import golden_scene
from tests.tiny import micro_model, micro_processor

STEPS = (50, 1000)
DISTINCT = 16  # pictures, shown in turn


def resident_mib() -> float:
    """Memory of this process that is in RAM now, in MiB (Linux)."""
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * resource.getpagesize() / 2**20


def state_bytes(session: Sam2InferenceSession) -> int:
    """Bytes of everything that is remembered."""
    total = 0
    for track in session.tracks.values():
        for memory in track.memories.values():
            result = memory.result
            tensors = (memory.spatial, result.mask_logits, result.object_pointer, result.object_score, result.iou_score)
            total += sum(tensor.untyped_storage().nbytes() for tensor in tensors if tensor is not None)
    return total


def main() -> None:
    torch.set_num_threads(1)
    pictures = [golden_scene(54, 96, frame) for frame in range(DISTINCT)]
    session = Sam2InferenceSession(micro_model(image_size=64), micro_processor(64))
    session.append_frame(pictures[0])
    session.add_prompt(frame_index=0, object_id=1, points=[[30, 20]])
    for number in range(1, STEPS[-1] + 1):
        session.append_frame(pictures[number % DISTINCT])
        if number in STEPS:
            print(f"after {number} frames: {resident_mib():.1f} MiB resident, {state_bytes(session)} bytes of state")


if __name__ == "__main__":
    main()
