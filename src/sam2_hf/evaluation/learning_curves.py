"""How a training run went, as one picture: losses, learning rate and validation figures over steps."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLUMNS, WIDTH, HEIGHT = 3, 380, 230  # of the panels, in pixels
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 40, 26  # around the lines of a panel
OVERSAMPLING = 2
TICKS = 4
SMOOTHING = 15  # points that a smoothed line averages at most; fewer than three times as many are not smoothed
GROUND, GRID, TEXT = (255, 255, 255), (228, 228, 228), (60, 60, 60)
COLOURS = ((31, 102, 180), (214, 84, 10), (28, 140, 70), (150, 60, 160), (120, 90, 60))

LOSS = "loss_per_step"
NOT_DRAWN = {"step", "epoch", "loss", "clips_per_second"}  # `loss` is the sum over all steps of a clip
HEADLINES = ("score", "box_mIoU", "1_click_mIoU", "5_click_mIoU", "JF")
TITLES = {LOSS: "loss per step", "learning_rate": "learning rate", "gradient_norm": "gradient norm"}

Points = list[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Lines on common axes.

    Attributes:
        title: what they show.
        lines: name to (step, value) in order of steps.
    """

    title: str
    lines: dict[str, Points]


def learning_curves(records: Iterable[dict]) -> Image.Image:
    """Draws the log of a run.

    Args:
        records: of `log.jsonl`: figures of steps, and of validations under "validation"; others and values that are no
            finite numbers are left out.

    Returns:
        three panels beside each other, as many rows as it takes; one that says so if there is nothing to draw yet.
    """
    panels = panels_of(records) or [Panel(title="no step was logged yet", lines={})]
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    scale = OVERSAMPLING
    sheet = Image.new("RGB", (columns * WIDTH * scale, rows * HEIGHT * scale), GROUND)
    for index, panel in enumerate(panels):
        place = (index % columns * WIDTH * scale, index // columns * HEIGHT * scale)
        sheet.paste(_drawn(panel), place)
    return sheet.reduce(scale)


def panels_of(records: Iterable[dict]) -> list[Panel]:
    """The panels of a log: the loss, validations, the learning rate, then everything else that was logged."""
    steps: dict[str, Points] = defaultdict(list)
    validations: dict[str, Points] = defaultdict(list)
    for record in records:
        figures, found = record.get("validation"), validations
        if not isinstance(figures, dict):
            figures, found = {name: value for name, value in record.items() if name not in NOT_DRAWN}, steps
        for name, value in figures.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                found[name].append((record["step"], value))
    losses = {"training": steps.pop(LOSS, None), "validation": validations.pop(LOSS, None)}
    shown = [name for name in HEADLINES if name in validations] or list(validations)[: len(COLOURS)]
    rate = {name: steps.pop(name) for name in ("learning_rate",) if name in steps}
    panels = [
        Panel(title=TITLES[LOSS], lines={name: points for name, points in losses.items() if points}),
        Panel(title="validation", lines={name: validations[name] for name in shown}),
        *(Panel(title=TITLES.get(name, name), lines={name: points}) for name, points in (rate | steps).items()),
    ]
    return [panel for panel in panels if panel.lines]


def _drawn(panel: Panel) -> Image.Image:
    """One panel, `OVERSAMPLING` times as large."""
    canvas = Image.new("RGB", (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING), GROUND)
    pen = ImageDraw.Draw(canvas)
    _write(pen, (LEFT, 16), panel.title, size=13)
    if not panel.lines:
        return canvas
    points = np.array([point for line in panel.lines.values() for point in line], float)
    axes = _Axes(points[:, 0], points[:, 1])
    for value in axes.y_ticks:
        y = axes.place(axes.x_low, value)[1]
        pen.line((*_scaled(LEFT, y), *_scaled(WIDTH - RIGHT, y)), fill=GRID, width=OVERSAMPLING)
        _write(pen, (LEFT - 6, y), _number(value, axes.y_ticks), anchor="rm")
    for value in axes.x_ticks:
        x = axes.place(value, axes.y_low)[0]
        _write(pen, (x, HEIGHT - BOTTOM + 5), f"{value:g}", anchor="mt")
    at = WIDTH - RIGHT
    for (name, line), colour in reversed(list(zip(panel.lines.items(), COLOURS, strict=False))):
        _line(pen, axes, line, colour)
        if len(panel.lines) > 1:
            _write(pen, (at, 33), name, colour=colour, anchor="rs")
            at -= pen.textlength(name, font=_font(11)) / OVERSAMPLING + 10
    return canvas


def _line(pen: ImageDraw.ImageDraw, axes: "_Axes", line: Points, colour: tuple[int, int, int]) -> None:
    """A line with a dot at its end and, where they are few, at every point; many are smoothed and shown pale."""
    places = [axes.place(*point) for point in line]
    is_long = len(line) >= 3 * SMOOTHING
    if is_long:
        pale = tuple((part + 2 * 255) // 3 for part in colour)
        _stroke(pen, places, pale, 1)
        mean = smoothed([value for _, value in line])
        places = [axes.place(step, value) for (step, _), value in zip(line, mean, strict=True)]
    _stroke(pen, places, colour, 2)
    for x, y in places[-1:] if is_long else places:
        pen.ellipse((*_scaled(x - 2.5, y - 2.5), *_scaled(x + 2.5, y + 2.5)), fill=colour)


def smoothed(values: Sequence[float]) -> np.ndarray:
    """The mean of each value and those around it, fewer at both ends."""
    sums = np.cumsum([0.0, *values])
    places = np.arange(len(values))
    reach = np.minimum(SMOOTHING // 2, np.minimum(places, len(values) - 1 - places))
    return (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)


class _Axes:
    """From steps and values to pixels of a panel."""

    def __init__(self, steps: np.ndarray, values: np.ndarray):
        self.x_low, self.x_high = min(0.0, float(steps.min())), max(float(steps.max()), 1.0)
        self.y_ticks = ticks(float(values.min()), float(values.max()))
        self.y_low, self.y_high = self.y_ticks[0], self.y_ticks[-1]
        self.x_ticks = [value for value in ticks(self.x_low, self.x_high) if value <= self.x_high]

    def place(self, step: float, value: float) -> tuple[float, float]:
        across = (step - self.x_low) / (self.x_high - self.x_low)
        up = (value - self.y_low) / (self.y_high - self.y_low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers at equal distances, the first at most `low` and the last at least `high`."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # all values are the same
        room = abs(high) / 2 or 1.0
        low, high = low - room, high + room
    wanted = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= wanted * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _number(value: float, among: Sequence[float]) -> str:
    """A tick with as many digits as tell it from its neighbours."""
    step = among[1] - among[0]
    if max(map(abs, among)) < 1e-3 or max(map(abs, among)) >= 1e5:
        return f"{value:.2g}" if value else "0"
    digits = max(0, -math.floor(math.log10(step)) + (round(step / 10 ** math.floor(math.log10(step)), 6) == 2.5))
    return f"{value:.{digits}f}"


def _stroke(pen: ImageDraw.ImageDraw, places: Sequence[tuple[float, float]], colour, width: int) -> None:
    if len(places) > 1:
        pen.line([_scaled(*place) for place in places], fill=colour, width=width * OVERSAMPLING, joint="curve")


def _write(pen: ImageDraw.ImageDraw, place, text: str, *, size: int = 11, colour=TEXT, anchor: str = "ls") -> None:
    pen.text(_scaled(*place), text, fill=colour, font=_font(size), anchor=anchor)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size * OVERSAMPLING)


def _scaled(x: float, y: float) -> tuple[float, float]:
    return x * OVERSAMPLING, y * OVERSAMPLING
