"""Which model and which video a session was saved with, in a few numbers: enough to tell another one."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from sam2_hf.errors import Sam2Error

SAMPLES = 4  # of every tensor of weights
CELLS = 8  # along each side of a small picture of a frame
GREY_LEVELS = 6  # decoders and converters of colour differ by less
RTOL, ATOL = 1e-2, 1e-4  # of the same weights in another dtype


def weights_sample(model: torch.nn.Module) -> dict:
    """A few weights of every tensor, and the dtype they have."""
    parts = []
    for _, value in sorted(model.state_dict().items()):
        flat = value.detach().flatten()
        parts.append(flat[:: max(1, flat.numel() // SAMPLES)][:SAMPLES].float())
    return {"dtype": str(model.dtype).removeprefix("torch."), "values": torch.cat(parts).tolist()}


def small_frames(source) -> dict[int, list[int] | None]:
    """The first, the middle and the last frame, 8 x 8 cells of 3 colours; None for one that cannot be decoded."""
    last = len(source) - 1
    return {index: _small(source, index) for index in sorted({0, last // 2, last})}


def same_weights(saved: dict, found: dict) -> bool:
    """Whether two samples are of the same weights; rounding to another dtype does not count."""
    before, now = torch.tensor(saved["values"]), torch.tensor(found["values"])
    if before.shape != now.shape:
        return False
    if saved["dtype"] == found["dtype"]:
        return torch.equal(before, now)
    return torch.allclose(before, now, rtol=RTOL, atol=ATOL)


def other_frame(saved: dict[str, list[int] | None], found: dict[int, list[int] | None]) -> int | None:
    """The number of a frame that looks different; None if all look alike, as far as they could be decoded."""
    for index, before in saved.items():
        now = found.get(int(index))
        if before is None or now is None:
            continue
        if (torch.tensor(before) - torch.tensor(now)).abs().max() > GREY_LEVELS:
            return int(index)
    return None


def _small(source, index: int) -> list[int] | None:
    try:
        frame: Tensor = source[index]
    except Sam2Error:
        return None
    pixels = frame.float() if not frame.is_floating_point() else 255 * frame.float()
    return adaptive_avg_pool2d(pixels[None], CELLS)[0].round().int().flatten().tolist()
