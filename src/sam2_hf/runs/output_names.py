"""Names of output files: they mirror the inputs, and are decided before anything is written."""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

from sam2_hf.disk.whole import fitting
from sam2_hf.errors import OutputExistsError

RESERVED = ("run", "results", "prompts", "coco", "contact_sheet")  # files of the whole run
SUFFIX_BYTES = 24  # what may be added to a name: the longest is .contours.json, and a crop has a number


def output_names(keys: Iterable[str], suffixes: tuple[str, ...]) -> dict[str, str]:
    """From the key of each picture to its name in the output, without a suffix.

    Pictures that would share a name keep their suffix: `a.jpg` and `a.png` become `a.jpg` and `a.png`, `b.jpg` is `b`.

    Args:
        keys: paths with '/' below the roots of their sources.
        suffixes: of picture files.

    A name that would be too long for a file with a suffix is cut, and gets a digest.

    Raises:
        OutputExistsError: two pictures of one key.
    """
    keys = list(keys)
    twice = next((key for key, count in Counter(keys).items() if count > 1), None)
    if twice is not None:
        raise OutputExistsError(f"{twice}: two pictures of one name; segment them in two runs")
    stems = {key: plain_name(key, suffixes) for key in keys}
    shared = Counter(stems.values())
    names = {key: key if shared[stem] > 1 or stem in RESERVED else stem for key, stem in stems.items()}
    return {key: fitting(name, SUFFIX_BYTES) for key, name in names.items()}


def plain_name(key: str, suffixes: tuple[str, ...]) -> str:
    """A key without the suffix of a picture, short enough for a file."""
    path = PurePosixPath(key)
    return fitting(str(path.with_suffix("")) if path.suffix.lower() in suffixes else key, SUFFIX_BYTES)
