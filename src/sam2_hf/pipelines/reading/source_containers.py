"""Many pictures in one thing: archives, videos, data sets of the Hub."""

import io
import itertools
import re
import tarfile
import threading
from collections.abc import Container, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image

from sam2_hf.errors import DecodeError, MissingExtraError, SourceError
from sam2_hf.pipelines.reading.picture_items import PICTURE_SUFFIXES, PictureItem, safe_key
from sam2_hf.processing.pixels import decode_picture

HUB = "hub:"
DEFAULT_SPLIT = "train"
BROKEN_TAR = (tarfile.TarError, ValueError, OverflowError, EOFError)  # what headers of nonsense end in
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expand_braces(name: str) -> list[str]:
    """`shard-{000..009}.tar` as ten names; a name without braces as itself."""
    match = BRACES.search(name)
    if match is None:
        return [name]
    first, last = match.groups()
    numbers = range(int(first), int(last) + 1)
    return [
        expanded
        for number in numbers
        for expanded in expand_braces(f"{name[: match.start()]}{number:0{len(first)}}{name[match.end() :]}")
    ]


def tar_items(path: Path) -> list[PictureItem]:
    """Pictures of an archive in its order.

    Of members that share a name up to the first dot, as `a.jpg`, `a.seg.png` and `a.json` do, the first picture is
    taken. `2024.01.02.png` is a picture of its own: where there is no `2024.png`, or nothing but numbers between.

    An archive that is cut off ends with an item that cannot be opened.

    Raises:
        DecodeError: it is no archive, or not a plain one.
        SourceError: there is no picture in it.
    """
    members, count, problem = [], 0, None
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                count += 1
                if member.isreg() and _picture_stem(member.name):
                    members.append(member)
    except (*BROKEN_TAR, MemoryError) as error:  # a header may ask for more bytes than there are anywhere
        problem = str(error) or type(error).__name__
        if not members:
            raise DecodeError(f"{path}: not a readable tar archive ({problem}); is it complete?") from error
    if not members:
        raise SourceError(f"{path}: there is no picture in this archive")
    items: dict[str, PictureItem] = {}
    for stem, member in _pictures_of(members).items():
        where, key = f"{path}!{member.name}", _free(safe_key(stem), items)
        read = partial(_read_member, path, member.offset_data, member.size, where)
        items[key] = PictureItem(key=key, source=where, open=read)
    if problem is not None:
        error = DecodeError(f"{path}: is cut off or damaged after {count} members ({problem})")
        key = _free(f"{path.stem}-damaged", items)
        items[key] = PictureItem(key=key, source=f"{path}!", open=partial(_refuse, error))
    return list(items.values())


def _picture_stem(name: str) -> str:
    """The path of a member without the suffix of a picture; empty if it has none, or is hidden."""
    path = PurePosixPath(name)
    is_picture = path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
    return name[: -len(path.suffix)] if is_picture else ""


def _pictures_of(members: list[tarfile.TarInfo]) -> dict[str, tarfile.TarInfo]:
    """Members by their names without a suffix, the first of each; without those that belong to another picture."""
    found: dict[str, tarfile.TarInfo] = {}
    for member in members:
        found.setdefault(_picture_stem(member.name), member)
    return {stem: member for stem, member in found.items() if not _is_part(stem, found)}


def _is_part(stem: str, stems: Container[str]) -> bool:
    """Whether a picture such as `a.seg` is a part of the sample `a`."""
    folder, slash, name = stem.rpartition("/")
    sample, _, part = name.partition(".")
    return any(letter.isalpha() for letter in part) and f"{folder}{slash}{sample}" in stems


def _free(key: str, taken: Container[str]) -> str:
    """A key that no other picture has: `a.png` and `../a.png` are two."""
    numbered = (f"{key}-{number}" for number in itertools.count(2))
    return key if key not in taken else next(other for other in numbered if other not in taken)


def _read_member(path: Path, offset: int, size: int, where: str) -> Image.Image:
    there = path.stat().st_size - offset
    if size > there:
        raise DecodeError(f"{where}: has {size} bytes by its header, the archive has {there} more; is it complete?")
    with path.open("rb") as file:
        file.seek(offset)
        return decode_picture(io.BytesIO(file.read(size)), where)


def _refuse(problem: SourceError) -> Image.Image:
    raise problem


def video_items(path: Path, key: str, start: int = 0, end: int | None = None, stride: int = 1) -> list[PictureItem]:
    """Frames of a video as pictures of their own.

    Args:
        start, end: first frame, and the one before which to stop; counted from 0.
        stride: every `stride`-th frame.

    Raises:
        SourceError: it cannot be read, or there is no frame in this range.
    """
    from sam2_hf.processing.video_file import VideoFileFrames  # brings PyAV along

    frames = VideoFileFrames(path)
    chosen = range(len(frames))[start:end:stride]
    if not chosen:
        raise SourceError(f"{path}: no frame from {start} to {end}; the video has {len(frames)}")
    one_at_a_time = threading.Lock()

    def read(index: int) -> Image.Image:
        with one_at_a_time:
            return Image.fromarray(frames[index].permute(1, 2, 0).contiguous().numpy())

    return [
        PictureItem(
            key=safe_key(f"{key}#{index:06d}"),
            source=f"{path}#{index:06d}",
            open=partial(read, index),
            in_order=True,
        )
        for index in chosen
    ]


def hub_items(source: str) -> Iterator[PictureItem]:
    """Rows of a data set, `hub:user/name[:split[:column]]`, as they stream in. A local folder will do for the name.

    Raises:
        MissingExtraError: the library `datasets` is not installed.
        SourceError: there is no such data set, split or column of pictures.
    """
    name, split, column = _hub_parts(source)
    try:
        from datasets import Image as ImageFeature
        from datasets import load_dataset
    except ImportError as error:
        raise MissingExtraError(f'{source}: data sets need datasets: pip install "sam2_hf[data]"') from error
    try:
        rows = load_dataset(name, split=split, streaming=True)
        features = rows.features or rows._resolve_features().features
        column = _picture_column(features, column, source, ImageFeature)
        rows = rows.select_columns([column]).cast_column(column, ImageFeature(decode=False))
    except SourceError:
        raise
    except Exception as error:  # not found, no network, a split that is not there: many libraries are in play
        raise SourceError(f"{source}: cannot be opened as a data set ({str(error).splitlines()[0]})") from error
    root = Path(name).name if Path(name).is_dir() else name
    for index, row in enumerate(rows):
        where = f"{HUB}{name}:{split}#{index}"
        yield PictureItem(
            key=safe_key(f"{root}/{split}/{index:06d}"), source=where, open=partial(_read_row, row[column], where)
        )


def _hub_parts(source: str) -> tuple[str, str, str | None]:
    name, *more = source.removeprefix(HUB).split(":")
    if not name or len(more) > 2:
        raise SourceError(f"{source}: write hub:user/name[:split[:column]]")
    return name, (more[0] if more and more[0] else DEFAULT_SPLIT), (more[1] if len(more) == 2 else None)


def _picture_column(features, column: str | None, source: str, image_feature: type) -> str:
    pictures = [name for name, feature in features.items() if isinstance(feature, image_feature)]
    if column is None and pictures:
        return pictures[0]
    if column in pictures:
        return column
    raise SourceError(f"{source}: no column of pictures {column or ''}; there are {', '.join(features)}")


def _read_row(value: dict | None, where: str) -> Image.Image:
    if value is None:
        raise DecodeError(f"{where}: this row has no picture")
    if value.get("bytes") is not None:
        return decode_picture(io.BytesIO(value["bytes"]), where)
    return decode_picture(Path(value["path"]), where)
