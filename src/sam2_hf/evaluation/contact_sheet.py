"""The worst cases on one picture: each with the outline of the truth, the prediction, and its score."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sam2_hf.disk.whole import write_whole
from sam2_hf.evaluation.metrics import tight_box
from sam2_hf.pipelines.writing.drawing import draw_mask, outline
from sam2_hf.processing.id_pictures import png_bytes

TILE_WIDTH, TILE_HEIGHT, CAPTION_HEIGHT, GAP = 320, 240, 30, 6
COLUMNS = 4
TRUTH_COLOUR, PREDICTED_COLOUR = (255, 255, 255), (255, 40, 60)
OUTLINE_WIDTH = 2
CAPTION_LETTERS = 52  # that fit a tile


@dataclass(frozen=True, kw_only=True)
class Case:
    """One object on one picture.

    Attributes:
        picture: RGB.
        truth, predicted: (height, width) bool, of the picture's size.
        caption: at most two lines.
    """

    picture: Image.Image
    truth: np.ndarray
    predicted: np.ndarray
    caption: str


def contact_sheet(cases: Sequence[Case]) -> Image.Image:
    """Tiles of the cases in reading order: the truth outlined in white, the prediction in red."""
    columns = min(COLUMNS, max(len(cases), 1))
    rows = -(-len(cases) // columns)
    step_x, step_y = TILE_WIDTH + GAP, TILE_HEIGHT + CAPTION_HEIGHT + GAP
    sheet = Image.new("RGB", (columns * step_x + GAP, max(rows, 1) * step_y + GAP), (24, 24, 24))
    pen = ImageDraw.Draw(sheet)
    for index, case in enumerate(cases):
        x, y = GAP + index % columns * step_x, GAP + index // columns * step_y
        tile = _tile(case)
        sheet.paste(tile, (x + (TILE_WIDTH - tile.width) // 2, y + (TILE_HEIGHT - tile.height) // 2))
        for line, text in enumerate(case.caption.splitlines()[:2]):
            pen.text((x, y + TILE_HEIGHT + 2 + 13 * line), text[-CAPTION_LETTERS:], fill=(235, 235, 235))
    return sheet


def save_contact_sheet(cases: Sequence[Case], path: Path) -> Path:
    """Writes the sheet as PNG."""
    return write_whole(path, png_bytes(contact_sheet(cases)), overwrite=True)


def _tile(case: Case) -> Image.Image:
    x0, y0, x1, y1 = _part(case.truth | case.predicted, case.truth)
    scale = min(TILE_WIDTH / (x1 - x0), TILE_HEIGHT / (y1 - y0))
    size = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    pixels = np.array(case.picture.convert("RGB").resize(size, Image.Resampling.BILINEAR, box=(x0, y0, x1, y1)))
    truth, predicted = (_scaled(mask[y0:y1, x0:x1], size) for mask in (case.truth, case.predicted))
    if predicted.any():
        draw_mask(pixels, predicted, PREDICTED_COLOUR, 0.4)
    pixels[outline(truth, OUTLINE_WIDTH)] = TRUTH_COLOUR
    return Image.fromarray(pixels)


def _scaled(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.array(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _part(either: np.ndarray, truth: np.ndarray) -> tuple[int, int, int, int]:
    """The part of the picture that is shown, (x0, y0, x1, y1): both masks and as much around them."""
    height, width = truth.shape
    if not either.any():
        return 0, 0, width, height
    x0, y0, x1, y1 = tight_box(either)
    margin_x, margin_y = max(8, (x1 - x0) // 2), max(8, (y1 - y0) // 2)
    return max(0, x0 - margin_x), max(0, y0 - margin_y), min(width, x1 + 1 + margin_x), min(height, y1 + 1 + margin_y)
