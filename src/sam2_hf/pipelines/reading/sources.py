"""Pictures from files, folders, lists, addresses, archives, data sets and videos, in one stream of items.

What is on this machine is listed at once, so that its length and names are known; a data set of the Hub, or an archive
or video behind an address, comes as it is read.
"""

import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from sam2_hf.disk.run_folder import written_in
from sam2_hf.errors import SourceError
from sam2_hf.pipelines.reading.downloads import download
from sam2_hf.pipelines.reading.picture_items import (
    PICTURE_SUFFIXES,
    PictureItem,
    failing_item,
    file_item,
    path_order,
    web_item,
    web_key,
)
from sam2_hf.pipelines.reading.source_containers import HUB, expand_braces, hub_items, tar_items, video_items
from sam2_hf.pipelines.reading.source_lists import LIST_SUFFIXES, STDIN, list_items
from sam2_hf.processing.addresses import WEB

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".y4m")
TAR = ".tar"
MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How sources are read.

    Attributes:
        recursive: folders with all folders in them.
        start, end, stride: which frames of videos; counted from 0, `end` is not among them.
        offline: addresses are taken from the cache only.
    """

    recursive: bool = False
    start: int = 0
    end: int | None = None
    stride: int = 1
    offline: bool = False

    def __post_init__(self):
        if self.start < 0 or self.stride < 1 or (self.end is not None and self.end <= self.start):
            raise ValueError(
                f"`start`, `end`, `stride` are {self.start}, {self.end}, {self.stride}; they must be a span of frames "
                "counted from 0, and a step of at least 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one source gives: a list, or a function that streams."""

    name: str
    items: Sequence[PictureItem] | None = None
    stream: Callable[[], Iterator[PictureItem]] | None = None


class Pictures:
    """Items of several sources, one after the other; each picture once. Can be iterated again.

    Attributes:
        known: items that are listed already, in order.
        length: number of pictures, or None if a part streams.
        classes: labels of lists in the order of their first appearance.
    """

    def __init__(self, parts: Sequence[_Part]):
        self._parts = _with_keys_of_their_own(_without_repeats(parts))
        self.known = [item for part in self._parts if part.items is not None for item in part.items]
        self.length = len(self.known) if all(part.stream is None for part in self._parts) else None
        labels = (label for item in self.known for label in item.labels)
        self.classes = tuple(dict.fromkeys(label for label in labels if label is not None))

    def __iter__(self) -> Iterator[PictureItem]:
        for part in self._parts:
            yield from part.items if part.stream is None else part.stream()


def pictures_from(sources: Sequence[str], options: SourceOptions | None = None) -> Pictures:
    """Pictures of all sources, none of them opened yet.

    Of several sources, an archive or video that cannot be read is one picture that fails, and does not fail the others.

    Args:
        sources: picture, folder, quoted glob, `list.txt`, `list.csv`, "-" for a list on standard input, address,
            `shard-{000..009}.tar`, `hub:user/name[:split[:column]]`, or video.

    Raises:
        SourceError: a source without a picture, or the only one cannot be read at all.
        PromptError: a row of a list that cannot be read.
    """
    options = options or SourceOptions()
    is_alone = len(sources) == 1
    parts = [part for source in sources for part in _parts(str(source), options, is_alone)]
    return Pictures(parts if is_alone else [_failing_alone(part) for part in parts])


def _parts(source: str, options: SourceOptions, is_alone: bool) -> list[_Part]:
    if source == STDIN:
        return [_Part(name="stdin", items=list_items(STDIN, options.offline))]
    if source.startswith(HUB):
        return [_Part(name="hub", stream=lambda: hub_items(source))]
    if source.startswith(WEB):
        return [_web_part(source, options)]
    path = Path(source)
    if path.is_dir():
        return [_folder_part(path, options.recursive)]
    if path.exists():
        return [(_file_part if is_alone else _tolerant_part)(path, path.name, options)]
    names = expand_braces(source)
    if len(names) > 1:
        return [_tolerant_part(_existing(name), Path(name).name, options) for name in names]
    return [_glob_part(source, options)]


def _file_part(path: Path, key: str, options: SourceOptions) -> _Part:
    """A file by its suffix; an unknown one is taken for a picture."""
    suffix = path.suffix.lower()
    if suffix in LIST_SUFFIXES:
        return _Part(name=path.stem, items=list_items(str(path), options.offline))
    if suffix == TAR:
        return _Part(name=path.stem, items=tar_items(path))
    if suffix in VIDEO_SUFFIXES:
        return _Part(name=path.resolve().parent.name, items=video_items(path, key, *_span(options)))
    return _Part(name=path.resolve().parent.name, items=[file_item(path, key)])


def _tolerant_part(path: Path, key: str, options: SourceOptions) -> _Part:
    """One of several files; a broken archive or video is one item that cannot be opened, and does not fail the others.

    A list is written by hand: what is wrong in it is told before the run.
    """
    if path.suffix.lower() in LIST_SUFFIXES:
        return _file_part(path, key, options)
    try:
        return _file_part(path, key, options)
    except SourceError as error:
        return _Part(name=path.resolve().parent.name, items=[failing_item(key, str(path), error)])


def _failing_alone(part: _Part) -> _Part:
    """A part that streams, and ends with an item that cannot be opened where it breaks."""
    stream = part.stream
    if stream is None:
        return part

    def items() -> Iterator[PictureItem]:
        try:
            yield from stream()
        except SourceError as error:
            yield failing_item(f"{part.name}-damaged", part.name, error)

    return replace(part, stream=items)


def _folder_part(folder: Path, recursive: bool) -> _Part:
    found: list[Path] = []
    written: set[Path] = set()
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        written |= {Path(parent, name) for name in written_in(Path(parent))}
        visible = [name for name in names if not name.startswith(".")]
        found += [Path(parent, name) for name in visible if Path(name).suffix.lower() in PICTURE_SUFFIXES]
    count = len(found)
    found = [path for path in found if path not in written]
    if not found:
        remedy = "" if recursive else "; for the folders in it pass --recursive"
        left = f" but {count} that runs wrote, which are left out; name such files themselves" if count else ""
        raise SourceError(f"{folder}: no picture found in this folder{left}{remedy}")
    found.sort(key=lambda path: path_order(path.relative_to(folder)))
    items = [file_item(path, path.relative_to(folder).as_posix()) for path in found]
    return _Part(name=folder.resolve().name, items=items)


def _glob_part(pattern: str, options: SourceOptions) -> _Part:
    fixed = [part for part in _leading(Path(pattern).parts[:-1])]
    root = Path(*fixed)
    suffixes = (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES, TAR)
    matches = [Path(match) for match in glob.glob(pattern, recursive=True)]
    matches = [match for match in matches if match.is_file() and match.suffix.lower() in suffixes]
    matches = _without_results(matches, root)
    if not matches:
        raise SourceError(
            f"{pattern}: no picture found; give a file, a folder, a quoted glob, a list, an address or a video"
        )
    matches.sort(key=lambda path: path_order(path.relative_to(root)))
    items = [
        item
        for match in matches
        for item in _tolerant_part(match, match.relative_to(root).as_posix(), options).items or ()
    ]
    return _Part(name=root.resolve().name, items=items)


def _without_results(paths: Sequence[Path], root: Path) -> list[Path]:
    """Files that no run below `root` wrote: results are not taken for pictures to be segmented."""
    parents = {parent for path in paths for parent in path.parents}
    folders = [parent for parent in parents if root == Path() or root in (parent, *parent.parents)]
    written = {folder / name for folder in folders for name in written_in(folder)}
    return [path for path in paths if path not in written]


def _leading(parts: Sequence[str]) -> Iterator[str]:
    """Folders of a glob before the first wild card."""
    for part in parts:
        if MAGIC.search(part):
            return
        yield part


def _web_part(url: str, options: SourceOptions) -> _Part:
    name = PurePosixPath(urlsplit(url).path)
    host = web_key(url).rsplit("/", 1)[0]
    if name.suffix.lower() == TAR:
        return _Part(name=f"{host}/{name.stem}", stream=lambda: _web_members(url, options))
    if name.suffix.lower() in VIDEO_SUFFIXES:
        return _Part(name=host, stream=lambda: _web_frames(url, name.name, options))
    return _Part(name=host, items=[web_item(url, PurePosixPath(web_key(url)).name, options.offline)])


def _web_members(url: str, options: SourceOptions) -> Iterator[PictureItem]:
    path = download(url, offline=options.offline)
    try:
        items = tar_items(path)
    except SourceError as error:
        raise type(error)(str(error).replace(str(path), url)) from error
    for item in items:
        yield replace(item, source=item.source.replace(str(path), url, 1), open=partial(_open_as, item, path, url))


def _open_as(item: PictureItem, path: Path, url: str):
    """Opens an item of a file in the cache; errors name its address."""
    try:
        return item.open()
    except SourceError as error:
        raise type(error)(str(error).replace(str(path), url)) from error


def _web_frames(url: str, key: str, options: SourceOptions) -> Iterator[PictureItem]:
    path = download(url, offline=options.offline)
    for item in video_items(path, key, *_span(options)):
        yield replace(item, source=item.source.replace(str(path), url, 1))


def _span(options: SourceOptions) -> tuple[int, int | None, int]:
    return options.start, options.end, options.stride


def _existing(name: str) -> Path:
    if not Path(name).is_file():
        raise SourceError(f"{name}: no such file; the braces must name files that are all there")
    return Path(name)


def _without_repeats(parts: Sequence[_Part]) -> list[_Part]:
    seen: set[str] = set()
    kept = []
    for part in parts:
        if part.items is None:
            kept.append(part)
            continue
        fresh = [item for item in part.items if item.source not in seen]
        seen.update(item.source for item in fresh)
        kept.append(replace(part, items=fresh))
    return kept


def _with_keys_of_their_own(parts: Sequence[_Part]) -> list[_Part]:
    """Parts that share a key get the names of their folders in front of all keys.

    The keys of parts that stream are not known yet: where there are several sources they get these names at once.
    """
    owners: dict[str, set[int]] = {}
    for number, part in enumerate(parts):
        for item in part.items or ():
            owners.setdefault(item.key, set()).add(number)
    crowded = {number for numbers in owners.values() if len(numbers) > 1 for number in numbers}
    if len(parts) > 1:
        crowded |= {number for number, part in enumerate(parts) if part.stream is not None}
    return [_below_its_name(part) if number in crowded else part for number, part in enumerate(parts)]


def _below_its_name(part: _Part) -> _Part:
    def renamed(items: Iterable[PictureItem]) -> Iterator[PictureItem]:
        return (replace(item, key=f"{part.name}/{item.key}") for item in items)

    stream = part.stream
    if stream is not None:
        return replace(part, stream=lambda: renamed(stream()))
    return replace(part, items=list(renamed(part.items or ())))
