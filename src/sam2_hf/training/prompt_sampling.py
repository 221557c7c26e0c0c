"""What a simulated user does: which frames get which prompt, and where the clicks go.

One plan per batch; all objects of a batch share it, so that they stay in one batch on every frame.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from sam2_hf.errors import ConfigError
from sam2_hf.modeling.outputs import PointLabel

PromptKind = Literal["mask", "box", "click"]
BOX_NOISE_SHARE, BOX_NOISE_PIXELS = 0.1, 20.0  # of the side, and at most so many model pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptOptions:
    """How prompts are drawn; the defaults are the original's recipe.

    Attributes:
        points_probability: of clicks and boxes instead of masks as first prompts of clips; pictures always get them.
        box_probability: of a box instead of a click.
        max_initial_frames, max_corrected_frames: upper limits, drawn per batch; pictures have one of each.
        num_corrections: clicks on every corrected frame.
        from_truth_probability: of a correction that is drawn from the truth and not from the error.
    """

    points_probability: float = 0.5
    box_probability: float = 0.5
    max_initial_frames: int = 2
    max_corrected_frames: int = 2
    num_corrections: int = 7
    from_truth_probability: float = 0.1

    def __post_init__(self):
        for name in ("points_probability", "box_probability", "from_truth_probability"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"`{name}` is {value}, but it must be in [0, 1]")
        if self.max_initial_frames < 1:
            raise ConfigError(f"`max_initial_frames` is {self.max_initial_frames}, but it must be at least 1")
        if self.max_corrected_frames < 0 or self.num_corrections < 0:
            raise ConfigError("`max_corrected_frames` and `num_corrections` must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptPlan:
    """What happens to a batch.

    Attributes:
        initial: frame to kind of prompt, in order.
        corrected: frames that get correction clicks.
        from_truth: per corrected frame, one flag per click: drawn from the truth alone.
    """

    initial: dict[int, PromptKind]
    corrected: tuple[int, ...]
    from_truth: dict[int, tuple[bool, ...]]


def draw_plan(
    num_frames: int, generator: np.random.Generator, options: PromptOptions, visible: list[bool] | None = None
) -> PromptPlan:
    """Draws the plan of a batch, in the order of draws of the original.

    Args:
        num_frames: frames of every clip.
        generator: the same on every process, so that all do the same steps.
        options: how often which prompt.
        visible: per frame, whether every object of the batch is visible; later first prompts are given only there.
    """
    is_picture = num_frames == 1
    uses_points = is_picture or generator.random() < options.points_probability
    num_initial = 1
    if not is_picture and options.max_initial_frames > 1:
        num_initial = int(generator.integers(1, options.max_initial_frames + 1))
    num_corrected = 1 if is_picture else options.max_corrected_frames
    if uses_points and num_corrected > num_initial:
        num_corrected = int(generator.integers(num_initial, num_corrected + 1))
    others = [frame for frame in range(1, num_frames) if visible is None or visible[frame]]
    most = num_frames if uses_points else max(1, num_frames - 1)  # masks on all frames would leave nothing to learn
    num_initial = min(num_initial, 1 + len(others), most)
    frames = [0]
    if num_initial > 1:
        frames += generator.choice(others, num_initial - 1, replace=False).tolist()
    initial: dict[int, PromptKind] = {}
    for frame in frames:
        is_box = uses_points and generator.random() < options.box_probability
        initial[frame] = "box" if is_box else "click" if uses_points else "mask"
    corrected = _corrected_frames(num_frames, frames, num_corrected, generator) if uses_points else []
    order = [frame for frame in frames if frame in corrected] + sorted(set(corrected) - set(frames))
    draws = {
        frame: tuple(bool(generator.random() < options.from_truth_probability) for _ in range(options.num_corrections))
        for frame in order
    }
    return PromptPlan(initial=initial, corrected=tuple(corrected), from_truth=draws)


def _corrected_frames(num_frames: int, initial: list[int], count: int, generator: np.random.Generator) -> list[int]:
    if count <= len(initial):
        return initial[:count]
    rest = [frame for frame in range(num_frames) if frame not in initial]
    return initial + generator.choice(rest, min(count - len(initial), len(rest)), replace=False).tolist()


def noisy_boxes(truth: Tensor, draws: np.ndarray) -> Tensor:
    """Tight boxes (inclusive maxima) with noise on every side.

    Args:
        truth: (rows, size, size) bool, none of them empty.
        draws: (rows, 4) uniform in [-1, 1]; zeros for exact boxes.

    Returns:
        (rows, 2, 2): top left and bottom right corner as (x, y), inside the picture.
    """
    size = truth.shape[-1]
    columns, rows = truth.any(dim=1).int(), truth.any(dim=2).int()  # (rows, size) each
    x0, y0 = columns.argmax(dim=1), rows.argmax(dim=1)
    x1, y1 = size - 1 - columns.flip(1).argmax(dim=1), size - 1 - rows.flip(1).argmax(dim=1)
    box = torch.stack((x0, y0, x1, y1), dim=1).float()
    sides = (box[:, 2:] - box[:, :2]).repeat(1, 2)
    reach = (BOX_NOISE_SHARE * sides).clamp(max=BOX_NOISE_PIXELS)
    noise = torch.as_tensor(draws, dtype=torch.float32, device=box.device) * reach
    return (box + noise).clamp(0, size - 1).unflatten(1, (2, 2))


def uniform_clicks(truth: Tensor, prediction: Tensor | None, draws: np.ndarray) -> tuple[Tensor, Tensor]:
    """One click per object, drawn uniformly from what is wrong.

    A missed pixel gives a positive click, a pixel too many a negative one; where nothing is wrong, a background pixel
    is clicked as background.

    Args:
        truth: (rows, height, width) bool.
        prediction: of the same shape; None for an empty one.
        draws: (rows,) uniform in [0, 1).

    Returns:
        points (rows, 1, 2) as (x, y) whole numbers, and labels (rows, 1).
    """
    prediction = torch.zeros_like(truth) if prediction is None else prediction
    wrong = truth ^ prediction
    is_perfect = ~wrong.flatten(1).any(dim=1)
    candidates = torch.where(is_perfect[:, None, None], ~truth, wrong)
    index = _nth_true(candidates.flatten(1), torch.as_tensor(draws, device=truth.device))
    labels = truth.flatten(1).gather(1, index[:, None])[:, 0].long()  # missed pixels are inside the truth
    points = torch.stack((index % truth.shape[2], index // truth.shape[2]), dim=1)
    return points.float().unsqueeze(1), labels.unsqueeze(1)


def _nth_true(flags: Tensor, draws: Tensor) -> Tensor:
    """The true entry at the share `draws` of all true entries of each row; the first entry of a row without any."""
    ranks = flags.long().cumsum(dim=1)
    wanted = (draws * ranks[:, -1]).long() + 1
    found = torch.searchsorted(ranks, wanted[:, None])[:, 0]
    return torch.where(ranks[:, -1] > 0, found, 0)


def centre_click(truth: np.ndarray, prediction: np.ndarray | None = None) -> tuple[int, int, int] | None:
    """The click of a careful user: in the middle of the largest error.

    Args:
        truth, prediction: (height, width) bool; None for an empty prediction.

    Returns:
        (x, y, label) in whole pixels, label 1 for a missed region and 0 for one too many; None where nothing is wrong.
    """
    truth = np.asarray(truth, dtype=bool)
    prediction = np.zeros_like(truth) if prediction is None else np.asarray(prediction, dtype=bool)
    missed, extra = _depth(truth & ~prediction), _depth(~truth & prediction)
    label = int(missed.max() > extra.max())
    depth = missed if label else extra
    if depth.max() == 0:
        return None
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y), label


def _depth(region: np.ndarray) -> np.ndarray:
    """Distance of every pixel to the outside of its region; beyond the picture is outside."""
    if not region.any():
        return np.zeros(region.shape)
    return distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]


def centre_clicks(truth: Tensor, prediction: Tensor | None) -> tuple[Tensor, Tensor]:
    """`centre_click` for rows: points (rows, 1, 2) and labels (rows, 1).

    Where nothing is wrong the click is not a point, which the model does not see.
    """
    points, labels = [], []
    for row in range(truth.shape[0]):
        guess = None if prediction is None else prediction[row].cpu().numpy()
        click = centre_click(truth[row].cpu().numpy(), guess) or (0, 0, int(PointLabel.NOT_A_POINT))
        points.append([click[:2]])
        labels.append([click[2]])
    return torch.tensor(points, dtype=torch.float32, device=truth.device), torch.tensor(labels, device=truth.device)
