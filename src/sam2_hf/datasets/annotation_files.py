"""JSON files of annotations, read field by field: what is missing or of another kind is named with its place."""

import json
import math
from pathlib import Path
from typing import Any

from sam2_hf.errors import DecodeError, SourceError

MISSING = object()
SHOWN = 60  # letters of a wrong value in a message


class Entry:
    """An object of a JSON file.

    Args:
        values: what the file has there.
        where: file and place, for messages.

    Raises:
        SourceError: it is no object.
    """

    __slots__ = ("values", "where")

    def __init__(self, values: Any, where: str):
        if not isinstance(values, dict):
            raise SourceError(f"{where}: expected an object {{...}}, found {shown(values)}")
        self.values, self.where = values, where

    @classmethod
    def of_file(cls, path: Path) -> "Entry":
        """The whole file.

        Raises:
            SourceError: there is no such file, or it holds a list or a single value.
            DecodeError: it is not JSON.
        """
        try:
            return cls(json.loads(path.read_text(encoding="utf-8-sig")), str(path))
        except FileNotFoundError as error:
            raise SourceError(f"{path}: there is no such file") from error
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"{path}: is not JSON ({error})") from error

    def __contains__(self, name: str) -> bool:
        """Whether the field is there; null stands for a field that is not."""
        return self.values.get(name) is not None

    def problem(self, text: str) -> SourceError:
        """An error about this entry."""
        return SourceError(f"{self.where}: {text}")

    def get(self, name: str, kinds: tuple[type, ...], expected: str, default: Any = MISSING) -> Any:
        """A field of some kind; the default where it is not there."""
        value = self.values.get(name)
        if value is None:
            if default is MISSING:
                raise self.problem(
                    f"has no {name!r}, expected {expected}; fields are {', '.join(self.values) or 'none'}"
                )
            return default
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise self.problem(f"{name!r} is {shown(value)}, expected {expected}")
        return value

    def text(self, name: str, default: Any = MISSING) -> Any:
        """A field that is text."""
        return self.get(name, (str,), "text", default)

    def key(self, name: str, default: Any = MISSING) -> Any:
        """A field that names something: a whole number or text."""
        return self.get(name, (int, str), "a whole number or text", default)

    def number(self, name: str, default: Any = MISSING) -> Any:
        """A field that is a finite number."""
        value = self.get(name, (int, float), "a number", default)
        if isinstance(value, float) and not math.isfinite(value):
            raise self.problem(f"{name!r} is {value}, expected a finite number")
        return value

    def size(self, height: str, width: str) -> tuple[int, int] | None:
        """Two fields as (height, width); None where neither is there."""
        if height not in self and width not in self:
            return None
        sides = self.number(height), self.number(width)
        if any(side < 1 or side != int(side) for side in sides):
            raise self.problem(
                f"{height!r} and {width!r} are {sides[0]} and {sides[1]}, expected whole numbers above 0"
            )
        return int(sides[0]), int(sides[1])

    def values_of(self, name: str, default: Any = MISSING) -> list:
        """A field that is a list."""
        return self.get(name, (list,), "a list", default)

    def entries(self, name: str, default: Any = MISSING) -> list["Entry"]:
        """A field that is a list of objects."""
        values = self.values_of(name, default)
        return [Entry(value, f"{self.where}: {name}[{index}]") for index, value in enumerate(values)]


def shown(value: Any) -> str:
    """A value as JSON has it, shortened."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def rle_size(rle: Any, entry: Entry) -> tuple[int, int]:
    """(height, width) that a run-length mask says it has.

    Raises:
        SourceError: it has none, or one without pixels.
    """
    size = rle.get("size") if isinstance(rle, dict) else None
    is_pair = isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)
    if size is None or not is_pair or "counts" not in rle:
        found = shown(rle if not isinstance(rle, dict) or size is None else size)
        raise entry.problem(f"a run-length mask has its size [height, width] above 0 and counts, found {found}")
    return size[0], size[1]
