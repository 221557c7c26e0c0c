"""Lists of pictures: one path or address per line, or a table with boxes and labels."""

import csv
import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sam2_hf.disk.whole import is_here
from sam2_hf.errors import PromptError, SourceError
from sam2_hf.pipelines.reading.picture_items import PictureItem, failing_item, file_item, web_item, web_key
from sam2_hf.processing.addresses import WEB

STDIN = "-"
TABLE = ".csv"
LIST_SUFFIXES = (".txt", TABLE)
HEADERS = ("path", "file", "filename", "file_name", "image", "picture")  # of these, a first cell makes a header
OTHER_COLUMNS = ("x0", "y0", "x1", "y1", "label")
BOX_COLUMNS = 4


def list_items(source: str, offline: bool = False) -> list[PictureItem]:
    """Pictures of a `.txt` or `.csv` file, or of standard input for "-".

    A text file has one path per line, a table has `path[,x0,y0,x1,y1][,label]` and may name a picture on several rows;
    its first row may be a header, which begins with one of `HEADERS`.
    Relative paths start at the list's folder, or at the working directory if the file is there instead.

    Raises:
        PromptError: a row of a table that cannot be read.
        SourceError: the list is empty, or is no text.
    """
    if source == STDIN:
        rows, folder = [(line, (), ()) for line in _lines(sys.stdin)], Path()
    elif source.lower().endswith(TABLE):
        rows, folder = _table(Path(source)), Path(source).parent
    else:
        rows, folder = [(line, (), ()) for line in _lines(_text(Path(source)).splitlines())], Path(source).parent
    if not rows:
        raise SourceError(f"{'standard input' if source == STDIN else source}: the list names no picture")
    entries: dict[str, tuple[list, list]] = {}
    for name, box, label in rows:
        boxes, labels = entries.setdefault(name, ([], []))
        boxes.extend(box)
        labels.extend(label)
        if len(labels) != len(boxes) and (boxes or len(labels) > 1):
            raise PromptError(f"{source}: {name} has rows with and without a box; give each row a box")
    items = _items(list(entries), folder, offline)
    return [
        replace(item, boxes=tuple(boxes), labels=tuple(labels))
        for item, (boxes, labels) in zip(items, entries.values(), strict=True)
    ]


def _lines(lines: Iterable[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: is not a text file in UTF-8; a list has one path per line") from error


def _table(path: Path) -> list[tuple[str, tuple, tuple]]:
    """Per row the path, its boxes (one or none), and as many labels, or a label without a box."""
    rows = []
    for number, cells in enumerate(csv.reader(_text(path).splitlines()), start=1):
        cells = [cell.strip() for cell in cells]
        if number == 1 and cells and cells[0].lower() in HEADERS:
            _check_header([cell.lower() for cell in cells], path)
            continue
        if not any(cells):
            continue
        name, *more = cells
        if len(more) not in (0, 1, BOX_COLUMNS, BOX_COLUMNS + 1):
            raise PromptError(f"{path}, row {number}: has {len(cells)} columns; write path[,x0,y0,x1,y1][,label]")
        has_box = len(more) >= BOX_COLUMNS and any(more[:BOX_COLUMNS])
        label = more[-1] or None if len(more) in (1, BOX_COLUMNS + 1) else None
        box = (_box(more[:BOX_COLUMNS], path, number),) if has_box else ()
        rows.append((name, box, (label,) if has_box or label else ()))
    return rows


def _check_header(names: list[str], path: Path) -> None:
    """Refuses known columns in another order; other names say nothing and are not read."""
    if set(names[1:]) <= set(OTHER_COLUMNS) and tuple(names[1:]) not in (
        (),
        OTHER_COLUMNS[:4],
        ("label",),
        OTHER_COLUMNS,
    ):
        raise PromptError(
            f"{path}, row 1: has the columns {','.join(names)}; their order must be path[,x0,y0,x1,y1][,label]"
        )


def _box(cells: list[str], path: Path, number: int) -> tuple[float, ...]:
    try:
        box = tuple(float(cell) for cell in cells)
    except ValueError as error:
        header = f"; a header begins with {', '.join(HEADERS[:-1])} or {HEADERS[-1]}" if number == 1 else ""
        raise PromptError(
            f"{path}, row {number}: {','.join(cells)!r} is no box x0,y0,x1,y1 in pixels{header}"
        ) from error
    if not all(map(math.isfinite, box)) or box[0] >= box[2] or box[1] >= box[3]:
        raise PromptError(f"{path}, row {number}: the box {','.join(cells)} has no area; write x0,y0,x1,y1 in pixels")
    return box


def _items(names: list[str], folder: Path, offline: bool) -> list[PictureItem]:
    """Items with keys below what their paths have in common, if they are not below the list's folder."""
    paths = {name: _path(name, folder) for name in names if not name.startswith(WEB) and "\0" not in name}
    root = _root(list(paths.values()), folder)
    items = []
    for name in names:
        if name in paths:
            key = paths[name].resolve().relative_to(root).as_posix()
            items.append(file_item(paths[name], key))
        elif "\0" in name:
            problem = SourceError(f"{name!r}: is no name of a file, it has a zero byte in it; write one path per line")
            items.append(failing_item(repr(name), repr(name), problem))
        else:
            items.append(_web_item(name, offline))
    return items


def _web_item(url: str, offline: bool) -> PictureItem:
    """The picture of an address; one that is none fails alone."""
    try:
        return web_item(url, web_key(url), offline)
    except ValueError as error:
        problem = SourceError(f"{url}: is no address ({error})")
        return failing_item(url.rpartition("/")[2], url, problem)


def _path(name: str, folder: Path) -> Path:
    beside = folder / name
    return Path(name) if not is_here(beside) and is_here(name) else beside


def _root(paths: list[Path], folder: Path) -> Path:
    """The folder of the list, or if not all pictures are below it, the deepest that they are all below."""
    resolved = [path.resolve() for path in paths]
    if all(folder.resolve() in path.parents for path in resolved):
        return folder.resolve()
    common = resolved[0].parent
    while not all(common in path.parents for path in resolved):
        common = common.parent
    return common
