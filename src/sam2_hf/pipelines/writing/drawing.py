"""Masks, boxes, prompts and names drawn over a picture, with Pillow and NumPy only."""

import colorsys
import zlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Palette = Sequence[Colour | str] | Mapping[Hashable, Colour | str]
GOLDEN_ANGLE = 0.618033988749895  # successive hues this far apart never come close to each other
SMALLEST_TEXT = 11  # pixels of a font that can still be read
TALL_LETTERS = "Ag"
BRIGHT = 140  # luma, 0 to 255, above which black text is read better than white


@dataclass(frozen=True, kw_only=True)
class Style:
    """What `overlay` draws and how; `ImageResult.plot` explains the fields."""

    alpha: float = 0.5
    masks: bool = True
    boxes: bool = False
    points: bool = True
    labels: bool = True
    scores: bool = False
    contours: bool = True
    palette: Palette | None = None
    line: int | None = None
    font: float | ImageFont.FreeTypeFont | None = None
    background: Colour | str | None = None

    def __post_init__(self):
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"`alpha` is {self.alpha}, but an opacity is between 0 and 1")
        if self.line is not None and self.line < 1:
            raise ValueError(f"`line` is {self.line}, but a line is at least 1 pixel wide")
        if self.palette is not None and not len(self.palette):
            raise ValueError("`palette` has no colour; leave it out for a colour of its own for every object")


def overlay(result, style: Style) -> Image.Image:
    """A result over its picture, or over a plain ground."""
    if style.background is None:
        pixels = result.pixels()
    else:
        pixels = np.full((*result.size, 3), as_colour(style.background), dtype=np.uint8)
    colours = [colour_of(object_id, style.palette) for object_id in result.object_ids]
    line = style.line or line_width((result.size[1], result.size[0]))
    drawn = Image.fromarray(pixels)
    if style.masks or style.contours:
        for mask, colour in zip(result.masks, colours, strict=True):
            _draw_object(drawn, mask, colour, style.alpha if style.masks else None, line if style.contours else None)
    if style.boxes:
        for box, colour in zip(result.boxes, colours, strict=True):
            draw_box(drawn, box, colour, line)
    if style.points:
        for prompt, colour in zip(result.prompts, colours, strict=False):
            if prompt is not None:
                draw_prompt(drawn, prompt, colour, line)
    draw_texts(drawn, captions(result, style), result.boxes, colours, font_of(style.font, line))
    return drawn


def colour_of(object_id: Hashable, palette: Palette | None = None) -> Colour:
    """The same clear colour for the same id, always; of a palette its entry, or one that the id's number falls on."""
    if isinstance(palette, Mapping) and object_id in palette:
        return as_colour(palette[object_id])
    number = object_id if isinstance(object_id, int) else zlib.crc32(str(object_id).encode())
    if palette is not None and not isinstance(palette, Mapping):
        return as_colour(palette[(number - 1) % len(palette)])
    hue = (0.58 + number * GOLDEN_ANGLE) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def as_colour(value: Colour | str) -> Colour:
    """Red, green and blue, 0 to 255, of three numbers or of a name or code that Pillow knows, such as "#ff8800"."""
    colour = ImageColor.getrgb(value) if isinstance(value, str) else tuple(value)
    return colour[:3]


def line_width(size: tuple[int, int]) -> int:
    """Pixels of a line that is seen on a picture of (width, height) and does not fill a narrow one."""
    return max(1, round(min(max(size) / 400, min(size) / 40)))


def draw_mask(picture: np.ndarray, mask: np.ndarray, colour: Colour, alpha: float) -> None:
    """Tints the inside of a mask and draws its outline into `picture` (height, width, 3) uint8, in place."""
    part = _tight(mask)
    if mask[part].size:
        drawn = Image.fromarray(picture[part])
        _draw_object(drawn, mask[part], colour, alpha, line_width(mask.shape[::-1]))
        picture[part] = np.asarray(drawn)


def _draw_object(drawn: Image.Image, mask: np.ndarray, colour: Colour, alpha: float | None, line: int | None) -> None:
    """Tints the inside of a mask with `alpha`, and draws its outline `line` pixels wide; nothing for None.

    All work is done inside the box of the mask. Pillow puts it into the picture: a look-up and a paste with whole
    numbers are several times as fast as NumPy's indexing.
    """
    rows, columns = _tight(mask)
    if rows.stop == rows.start:
        return
    corner = (columns.start, rows.start)
    inside = np.ascontiguousarray(mask[rows, columns])  # run lengths go down the columns, pictures along the rows
    if alpha is not None:
        below = drawn.crop((*corner, columns.stop, rows.stop))
        drawn.paste(below.point(_blended(colour, alpha)), corner, _stencil(inside))
    if line is not None:
        drawn.paste(colour, (*corner, columns.stop, rows.stop), _stencil(outline(inside, line)))


def _blended(colour: Colour, alpha: float) -> list[int]:
    """What becomes of the 256 values of red, of green and of blue; `alpha` 1 hides what is below."""
    return [int((1 - alpha) * value + alpha * tone) for tone in colour for value in range(256)]


def _stencil(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask)  # of one bit: pixels are taken or left, not blended


def outline(mask: np.ndarray, width: int) -> np.ndarray:
    """The inner border of a bool mask, `width` pixels thick."""
    height, across = mask.shape
    inner, eroded = (np.zeros((height + 2, across + 2), dtype=bool) for _ in range(2))
    inner[1:-1, 1:-1] = mask
    for _ in range(width):
        middle = eroded[1:-1, 1:-1]
        np.logical_and(inner[:-2, 1:-1], inner[2:, 1:-1], out=middle)
        np.logical_and(middle, inner[1:-1, :-2], out=middle)
        np.logical_and(middle, inner[1:-1, 2:], out=middle)
        np.logical_and(middle, inner[1:-1, 1:-1], out=middle)
        inner, eroded = eroded, inner
    return mask & ~inner[1:-1, 1:-1]


def _tight(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold all of a mask; none for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def draw_box(image: Image.Image, box: Sequence[float], colour: Colour, line: int) -> None:
    """Draws a box on pixel edges around the pixels that it holds; nothing for an empty one."""
    x0, y0, x1, y1 = (float(side) for side in box)
    if x1 > x0 and y1 > y0:
        ImageDraw.Draw(image).rectangle([(x0, y0), (max(x0, x1 - 1), max(y0, y1 - 1))], outline=colour, width=line)


def draw_prompt(image: Image.Image, prompt, colour: Colour, line: int) -> None:
    """Draws the box and the points of a prompt: filled discs are inside, crossed ones outside."""
    canvas = ImageDraw.Draw(image)
    if prompt.box:
        x0, y0, x1, y1 = prompt.box
        corners = [(min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))]
        canvas.rectangle(corners, outline=colour, width=line)
    radius = 3 * line
    for (x, y), label in zip(prompt.points, prompt.labels, strict=True):
        disc = [(x - radius, y - radius), (x + radius, y + radius)]
        canvas.ellipse(disc, fill=colour if label == 1 else (0, 0, 0), outline=(255, 255, 255), width=line)
        if label == 0:
            canvas.line([(x - radius, y), (x + radius, y)], fill=(255, 255, 255), width=line)


def captions(result, style: Style) -> list[str]:
    """What is written beside each object: its class, and its id where that is not enough to tell it, its quality."""
    names = ["" if not style.labels else label or "" for label in result.labels]
    if style.labels and len(result) > 1:
        counts = Counter(result.labels)
        names = [
            name if name and counts[name] == 1 else f"{name} {object_id}".strip()
            for name, object_id in zip(names, result.object_ids, strict=True)
        ]
    qualities = [f"{value:.2f}" if style.scores else "" for value in result.quality]
    return [" ".join(part for part in parts if part) for parts in zip(names, qualities, strict=True)]


def font_of(font: float | ImageFont.FreeTypeFont | None, line: int):
    """A font of Pillow's own at a size in pixels, by default one that suits the lines; a font is returned as it is."""
    if font is not None and not isinstance(font, (int, float)):
        return font
    return ImageFont.load_default(size=font or SMALLEST_TEXT + 3 * (line - 1))


def draw_texts(image: Image.Image, texts: Sequence[str], boxes: np.ndarray, colours: Sequence[Colour], font) -> None:
    """Writes a text on its colour above each box, below or inside it where that is taken or outside the picture."""
    canvas = ImageDraw.Draw(image)
    taken: list[tuple[float, float, float, float]] = []
    for text, box, colour in zip(texts, boxes, colours, strict=True):
        if not text or box[2] <= box[0]:
            continue
        left, _, right, _ = canvas.textbbox((0, 0), text, font=font)
        _, top, _, bottom = canvas.textbbox((0, 0), TALL_LETTERS, font=font)  # the same line height for every text
        pad = max(1, round((bottom - top) / 6))
        width, height = right - left + 2 * pad, bottom - top + 2 * pad
        x = max(0, min(box[0], image.width - width))
        places = [(x, y, x + width, y + height) for y in (box[1] - height, box[1], box[3], box[3] - height)]
        free = [place for place in places if place[1] >= 0 and place[3] <= image.height]
        place = next((place for place in free if not any(_meet(place, other) for other in taken)), (free or places)[0])
        taken.append(place)
        canvas.rectangle([place[:2], (place[2] - 1, place[3] - 1)], fill=colour)
        canvas.text((place[0] + pad - left, place[1] + pad - top), text, font=font, fill=_text_colour(colour))


def _meet(first: Sequence[float], second: Sequence[float]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _text_colour(ground: Colour) -> Colour:
    luma = 0.299 * ground[0] + 0.587 * ground[1] + 0.114 * ground[2]
    return (0, 0, 0) if luma > BRIGHT else (255, 255, 255)
