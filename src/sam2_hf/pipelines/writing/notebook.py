"""How a notebook shows a result: a small overlay with names or numbers, and a table of the objects."""

import base64
import io
from dataclasses import replace
from html import escape

import numpy as np
from PIL import Image

from sam2_hf.errors import SourceError
from sam2_hf.pipelines.writing.drawing import colour_of
from sam2_hf.processing.rle import Masks

LONGEST_SIDE = 640  # pixels of the picture that is kept in a notebook
MOST_BYTES = 256 * 1024
MOST_ROWS = 20
PLAIN = (64, 64, 64)  # the ground where the picture itself cannot be had
COLUMNS = ("", "object", "label", "score", "area", "box (x0, y0, x1, y1)")


def png_of(result) -> bytes:
    """The overlay as PNG, at most 640 pixels wide or high and 256 KiB."""
    return _encoded(result, "PNG")


def html_of(result) -> str:
    """The overlay as JPEG within its text, below it a table of at most 20 objects."""
    picture = base64.b64encode(_encoded(result, "JPEG")).decode()
    height, width = result.size
    frame = getattr(result, "frame", None)
    name = f"{result.source or 'array'}{'' if frame is None else f', frame {frame}'}"
    place = escape(f"{name}, {width} x {height}: {result.summary()}")
    rows = "".join(_row(result, row) for row in range(min(len(result), MOST_ROWS)))
    more = f"<p>and {len(result) - MOST_ROWS} more</p>" if len(result) > MOST_ROWS else ""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}" if rows else ""
    return f'<div><p>{place}</p><img alt="overlay" src="data:image/jpeg;base64,{picture}">{table}</div>'


def _row(result, row: int) -> str:
    colour = "#{:02x}{:02x}{:02x}".format(*colour_of(result.object_ids[row]))
    box = ", ".join(f"{side:.0f}" for side in result.boxes[row])
    label = "" if result.labels[row] is None else str(result.labels[row])
    cells = (str(result.object_ids[row]), label, f"{result.quality[row]:.2f}", str(int(result.areas[row])), box)
    mark = f'<td style="background:{colour}">&nbsp;</td>'
    return f"<tr>{mark}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _encoded(result, kind: str) -> bytes:
    """The overlay, made smaller until it is small enough."""
    side = LONGEST_SIDE
    while True:
        file = io.BytesIO()
        _reduced(result, side).plot().save(file, kind)
        if file.tell() <= MOST_BYTES or side <= 64:
            return file.getvalue()
        side //= 2


def _reduced(result, side: int):
    """The result on a smaller picture, so that lines and letters keep their size."""
    height, width = result.size
    scale = min(1.0, side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    picture = _picture(result).resize(size[::-1], Image.Resampling.BOX)
    masks = np.zeros((len(result), *size), dtype=bool)
    for row, mask in enumerate(result.masks):
        masks[row] = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
    prompts = tuple(prompt and _scaled(prompt, scale) for prompt in result.prompts)
    return replace(
        result,
        size=size,
        masks=Masks.from_dense(masks, size),
        boxes=result.boxes * scale,
        prompts=prompts,
        image=picture,
        alternatives=(),
        crop_boxes=None,
        logits=None,
    )


def _picture(result) -> Image.Image:
    """The picture, or a plain ground where it is neither kept nor in a file here; nothing is downloaded."""
    height, width = result.size
    if result.image is not None or (result.source and "://" not in str(result.source)):
        try:
            pixels = result.pixels()
            if pixels.shape[:2] == (height, width):
                return Image.fromarray(pixels)
        except (SourceError, OSError, ValueError, IndexError):
            pass
    return Image.new("RGB", (width, height), PLAIN)


def _scaled(prompt, scale: float):
    box = prompt.box and [side * scale for side in prompt.box]
    return replace(prompt, points=[[x * scale, y * scale] for x, y in prompt.points], box=box)
