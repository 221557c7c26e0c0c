"""Many pictures on one, small and with their names."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

SHEET_WIDTH = 1600
TILE_WIDTHS = (200, 480)  # the least and the most
TILE_RATIO = 3 / 4
CAPTION_HEIGHT, GAP = 18, 6
MAX_TILES = 64
BACKGROUND, TEXT = (24, 24, 24), (235, 235, 235)
LETTER_WIDTH = 6.3  # of Pillow's own font


def contact_sheet(pictures: Sequence[tuple[str, Path]], max_tiles: int = MAX_TILES) -> Image.Image:
    """A grid in reading order.

    Args:
        pictures: name and file of each. More than `max_tiles` are thinned out evenly, the first and the last stay.
    """
    pictures = evenly(pictures, max_tiles)
    columns = next(side for side in range(1, max_tiles + 1) if side * side >= len(pictures))
    rows = max(1, -(-len(pictures) // columns))
    width = min(max(SHEET_WIDTH // columns - GAP, TILE_WIDTHS[0]), TILE_WIDTHS[1])
    height, letters = round(TILE_RATIO * width), int(width / LETTER_WIDTH)
    step_x, step_y = width + GAP, height + CAPTION_HEIGHT + GAP
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for index, (name, path) in enumerate(pictures):
        x, y = GAP + index % columns * step_x, GAP + index // columns * step_y
        with Image.open(path) as picture:
            tile = picture.convert("RGB")
        tile.thumbnail((width, height))
        sheet.paste(tile, (x + (width - tile.width) // 2, y + (height - tile.height) // 2))
        shown = name if len(name) <= letters else "..." + name[3 - letters :]
        pen.text((x, y + height + 2), shown, fill=TEXT)
    return sheet


def evenly(values: Sequence, count: int) -> list:
    """At most `count` of the values, evenly spaced, with the first and the last."""
    if len(values) <= count:
        return list(values)
    return [values[round(index * (len(values) - 1) / (count - 1))] for index in range(count)]
