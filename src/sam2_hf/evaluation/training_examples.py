"""A few pictures of a training run with their true mask, the mask before training and the mask now, all from a box."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sam2_hf.errors import Sam2Error
from sam2_hf.evaluation.metrics import region_similarity, tight_box
from sam2_hf.evaluation.picture_prompts import EncodedPicture
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.pipelines.writing.drawing import draw_mask
from sam2_hf.processing.processor import Sam2Processor
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.training.mixing import MixedSource

MOST = 6  # pictures
TRIES = 4  # for each of them; a data set may have pictures without objects
TILE_WIDTH, TILE_HEIGHT, CAPTION, GAP = 260, 200, 20, 6  # pixels
AROUND, LEAST = 3, 48  # a tile shows so many times the sides of the box, and at least so many pixels
GROUND, TEXT = (24, 24, 24), (235, 235, 235)
TRUE_COLOUR, FOUND_COLOUR, BOX_COLOUR = (60, 200, 90), (255, 40, 60), (255, 220, 60)
LETTER_WIDTH = 6.3  # of the captions


@dataclass(frozen=True, kw_only=True)
class Example:
    """One object on one picture.

    Attributes:
        name: of the picture.
        picture: RGB, its longest side at most that of the model's input.
        truth: (height, width) bool, not empty.
    """

    name: str
    picture: Image.Image
    truth: np.ndarray


def draw_examples(sources: Sequence[MixedSource], side: int, seed: int) -> list[Example]:
    """At most `MOST` pictures, of all sources in turn; the same for the same seed.

    Args:
        sources: of clips; those of one clip are its first sampled frame. They are not augmented.
        side: pixels of the longest side.
    """
    orders = [_order(mixed.source, np.random.default_rng((seed, number))) for number, mixed in enumerate(sources)]
    turns = [(number, items[turn]) for turn in range(MOST * TRIES) for number, items in enumerate(orders)
             if turn < len(items)]  # fmt: skip
    examples: list[Example] = []
    for number, item in turns[: MOST * TRIES]:
        example = _example(sources[number].source, item, side, np.random.default_rng((seed, number, item)))
        examples += [] if example is None else [example]
        if len(examples) == MOST:
            break
    return examples


def masks_from_boxes(model: Sam2Model, processor: Sam2Processor, examples: Sequence[Example]) -> list[np.ndarray]:
    """The model's mask (height, width) for the tight box of each true one.

    Args:
        model: in evaluation mode.
    """
    masks = []
    for example in examples:
        picture = EncodedPicture(model, processor, example.picture)
        box = [float(side) for side in tight_box(example.truth)]
        masks.append(picture.masks(picture.ask([ObjectPrompt(box=box)]).logits)[0])
    return masks


def examples_sheet(
    examples: Sequence[Example], before: Sequence[np.ndarray], now: Sequence[np.ndarray], step: int
) -> Image.Image:
    """A row of three tiles per example: the truth with the box, the mask before training, and that after a step."""
    step_x, step_y = TILE_WIDTH + GAP, TILE_HEIGHT + CAPTION + GAP
    sheet = Image.new("RGB", (3 * step_x + GAP, len(examples) * step_y + CAPTION + GAP), GROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for column, title in enumerate(("true, and the box", "before training", f"after {step} steps")):
        pen.text((GAP + column * step_x, GAP), title, fill=TEXT, font=font)
    for row, (example, first, last) in enumerate(zip(examples, before, now, strict=True)):
        y = CAPTION + GAP + row * step_y
        captions = [_shortened(example.name)]
        captions += [f"IoU {region_similarity(mask, example.truth):.2f}" for mask in (first, last)]
        masks = ((example.truth, TRUE_COLOUR), (first, FOUND_COLOUR), (last, FOUND_COLOUR))
        for column, (caption, (mask, colour)) in enumerate(zip(captions, masks, strict=True)):
            x = GAP + column * step_x
            tile = _tile(example, mask, colour)
            sheet.paste(tile, (x + (TILE_WIDTH - tile.width) // 2, y + (TILE_HEIGHT - tile.height) // 2))
            pen.text((x, y + TILE_HEIGHT + 2), caption, fill=TEXT, font=font)
    return sheet


def _order(source, rng: np.random.Generator) -> list[int]:
    """Numbers of clips to try; the first ones of a table, which is read in order."""
    count = min(len(source), MOST * TRIES)
    if getattr(source, "is_ordered", False):
        return list(range(count))
    return rng.choice(len(source), count, replace=False).tolist()


def _example(source, item: int, side: int, rng: np.random.Generator) -> Example | None:
    """The largest object of the first frame that a source gives; None for a clip that cannot be taken."""
    try:
        clip = source.sample(item, rng)
    except Sam2Error:  # the run says so when it meets it
        return None
    truths = clip.masks[:, 0].numpy()
    truth = truths[truths.reshape(len(truths), -1).sum(axis=1).argmax()]
    picture = Image.fromarray(np.ascontiguousarray(clip.frames[0].permute(1, 2, 0).numpy()))
    scale = min(1.0, side / max(picture.size))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    small = np.array(Image.fromarray(truth).resize(size, Image.Resampling.NEAREST))
    if not small.any():
        return None
    return Example(name=clip.name, picture=picture.resize(size, Image.Resampling.BOX), truth=small)


def _tile(example: Example, mask: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    window = _window(example.truth)
    width, height = window[2] - window[0], window[3] - window[1]
    scale = min(TILE_WIDTH / width, TILE_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = np.array(example.picture.resize(size, Image.Resampling.BILINEAR, box=window))
    shown = np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST, box=window))
    if shown.any():
        draw_mask(pixels, shown, colour, 0.45)
    tile = Image.fromarray(pixels)
    x0, y0, x1, y1 = tight_box(example.truth)
    corners = (x0 - window[0], y0 - window[1], x1 + 1 - window[0], y1 + 1 - window[1])
    ImageDraw.Draw(tile).rectangle([place * scale for place in corners], outline=BOX_COLOUR)
    return tile


def _window(truth: np.ndarray) -> tuple[int, int, int, int]:
    """The part of the picture around an object that is shown, (x0, y0, x1, y1), of the shape of a tile if it fits."""
    x0, y0, x1, y1 = tight_box(truth)
    width, height = (max(LEAST, AROUND * (high - low + 1)) for low, high in ((x0, x1), (y0, y1)))
    width, height = max(width, height * TILE_WIDTH // TILE_HEIGHT), max(height, width * TILE_HEIGHT // TILE_WIDTH)
    (left, right), (top, bottom) = (
        _placed(middle / 2, length, limit)
        for middle, length, limit in ((x0 + x1, width, truth.shape[1]), (y0 + y1, height, truth.shape[0]))
    )
    return left, top, right, bottom


def _placed(middle: float, length: int, limit: int) -> tuple[int, int]:
    """A stretch around a place, moved so that it lies within 0 and a limit, or all of that."""
    length = min(length, limit)
    start = min(max(0, round(middle - length / 2)), limit - length)
    return start, start + length


def _shortened(name: str) -> str:
    letters = int(TILE_WIDTH / LETTER_WIDTH)
    return name if len(name) <= letters else f"...{name[3 - letters :]}"
