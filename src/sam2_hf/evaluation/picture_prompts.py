"""One picture, encoded once, and the masks of all its objects for simulated clicks and boxes."""

import zlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sam2_hf.evaluation.metrics import region_similarity, tight_box
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.processing.masks import resize_logits
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.prompts import ObjectPrompt, prompt_tensors
from sam2_hf.training.prompt_sampling import centre_click

BOX_NOISE = 0.1  # of the side: how far a jittered side moves at most


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Masks for one prompt of each object.

    Attributes:
        logits: (objects, height, width) at low resolution, of the candidate with the highest predicted IoU.
        candidates: (objects, candidates, height, width), all of them.
        iou_scores: (objects,) predicted IoU of the best candidate.
    """

    logits: Tensor
    candidates: Tensor
    iou_scores: Tensor


class EncodedPicture:
    """A picture that any number of prompts can be asked about.

    Args:
        image: anything that the processor reads.
        void: (height, width) bool, pixels that no mask may count; they are in no answer.
    """

    def __init__(self, model: Sam2Model, processor: Sam2Processor, image, void: np.ndarray | None = None):
        self.model, self._void = model, void
        inputs = processor.image_processor(image, return_tensors="pt")
        self.size: tuple[int, int] = tuple(inputs["original_sizes"][0].tolist())
        pixel_values = inputs["pixel_values"].to(device=model.device, dtype=model.dtype)
        with torch.inference_mode():
            self._embeddings = model.get_image_embeddings(pixel_values)

    @torch.inference_mode()
    def ask(self, prompts: list[ObjectPrompt], mask_logits: Tensor | None = None, multimask: bool = False) -> Answer:
        """Masks for one prompt per object, in pixels of the picture.

        Args:
            mask_logits: (objects, height, width), logits of earlier answers.
            multimask: three candidates.
        """
        height, width = self.size
        side = self.model.config.image_size
        named = zip(
            ("input_points", "input_labels", "input_boxes"),
            prompt_tensors([prompts], [(side / width, side / height)]),
            strict=True,
        )
        tensors = {name: tensor.to(self.model.device) for name, tensor in named if tensor is not None}
        if mask_logits is not None:
            tensors["input_masks"] = mask_logits[None]
        output = self.model(image_embeddings=self._embeddings, multimask_output=multimask, **tensors)
        candidates, scores = output.pred_masks[0].float(), output.iou_scores[0].float()
        best = scores.argmax(dim=1)
        rows = torch.arange(len(best), device=best.device)
        return Answer(logits=candidates[rows, best], candidates=candidates, iou_scores=scores[rows, best])

    def masks(self, logits: Tensor) -> np.ndarray:
        """Low-resolution logits (objects, height, width) as bool masks at the picture's size."""
        masks = (resize_logits(logits[:, None], self.size)[:, 0] > 0).cpu().numpy()
        return masks if self._void is None else masks & ~self._void


def click_curves(
    picture: EncodedPicture, truths: np.ndarray, max_clicks: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Clicks objects of one picture, each at the centre of its error, all of them at once.

    After the first click the candidate with the highest predicted IoU counts; later clicks ask for one mask and pass
    the previous logits on. An object that is perfect gets no more clicks.

    Args:
        truths: (objects, height, width) bool, none of them empty.

    Returns:
        IoU (objects, max_clicks); after the first click, IoU of the best candidate by truth (objects,); the last masks
        (objects, height, width); what the model estimated for its mask after the first click (objects,).
    """
    count = len(truths)
    prompts = [ObjectPrompt() for _ in range(count)]
    predicted, curves = np.zeros_like(truths), np.zeros((count, max_clicks))
    logits, oracle, estimated = None, np.zeros(count), np.zeros(count)
    for step in range(max_clicks):
        active = [row for row in range(count) if _click(prompts[row], truths[row], predicted[row])]
        if active:
            asked = [prompts[row] for row in active]
            answer = picture.ask(asked, None if logits is None else logits[active], multimask=step == 0)
            predicted[active] = picture.masks(answer.logits)
            if logits is None:  # nothing is perfect before the first click: every object is active
                logits, oracle = answer.logits.clone(), _best_by_truth(picture, answer, truths)
                estimated = answer.iou_scores.cpu().numpy()
            else:
                logits[active] = answer.logits
        curves[:, step] = _ious(predicted, truths)
    return curves, oracle, predicted, estimated


def box_ious(
    picture: EncodedPicture, truths: np.ndarray, boxes: list[list[float]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IoU (objects,) of single masks for boxes [x0, y0, x1, y1], the masks (objects, height, width), and the IoU that
    the model estimated (objects,)."""
    answer = picture.ask([ObjectPrompt(box=box) for box in boxes])
    predicted = picture.masks(answer.logits)
    return _ious(predicted, truths), predicted, answer.iou_scores.cpu().numpy()


def jittered(box: list[float], size: tuple[int, int], seed: int, key: str) -> list[float]:
    """A box whose sides have moved by up to a tenth, inside a picture of (height, width).

    Args:
        seed, key: the same pair gives the same box, whatever else was drawn.
    """
    generator = np.random.default_rng([seed, zlib.crc32(key.encode())])
    x0, y0, x1, y1 = box
    reach = BOX_NOISE * np.array([x1 - x0, y1 - y0] * 2, dtype=float)
    height, width = size
    moved = np.array(box, dtype=float) + generator.uniform(-1, 1, 4) * reach
    return np.clip(moved, 0, [width - 1, height - 1] * 2).tolist()


def error_click(truth: np.ndarray, predicted: np.ndarray) -> tuple[int, int, int] | None:
    """`centre_click` on the part of the picture that holds the errors: the same click, found faster."""
    wrong = truth ^ predicted
    if not wrong.any():
        return None
    x0, y0, x1, y1 = tight_box(wrong)
    part = slice(y0, y1 + 1), slice(x0, x1 + 1)
    click = centre_click(truth[part], predicted[part])
    return None if click is None else (click[0] + x0, click[1] + y0, click[2])


def _click(prompt: ObjectPrompt, truth: np.ndarray, predicted: np.ndarray) -> bool:
    """Adds the next click to a prompt; False: nothing is wrong."""
    click = error_click(truth, predicted)
    if click is None:
        return False
    prompt.points.append([float(click[0]), float(click[1])])
    prompt.labels.append(click[2])
    return True


def _best_by_truth(picture: EncodedPicture, answer: Answer, truths: np.ndarray) -> np.ndarray:
    candidates = [_ious(picture.masks(answer.candidates[:, one]), truths) for one in range(answer.candidates.shape[1])]
    return np.max(candidates, axis=0)


def _ious(predicted: np.ndarray, truths: np.ndarray) -> np.ndarray:
    return np.array([region_similarity(one, other) for one, other in zip(predicted, truths, strict=True)])
