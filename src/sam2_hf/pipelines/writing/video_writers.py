"""Results of a video into files, one frame at a time; dense masks of a whole video never exist.

```python
save_video(follow(session), "overlay.mp4")
for result in tee(follow(session), [OverlayVideo("overlay.mp4"), Jsonl("results.jsonl")]):
    print(result.summary())
```

A sink takes one result after another and is closed at the end; then its file is complete and has its name. Sinks are
closed too when a pass fails or is interrupted, and hold what was done until then.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import Literal, Protocol

from sam2_hf.datasets.mask_folders import IDS
from sam2_hf.disk.whole import check_free
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.writing.mask_files import DavisPngs, IndexPngs, SavPngs
from sam2_hf.pipelines.writing.missing_frames import MissingFrame
from sam2_hf.pipelines.writing.result_lines import Jsonl
from sam2_hf.pipelines.writing.track_files import AreasCsv, CocoJson, MotsTxt, MotTxt, YtvisJson
from sam2_hf.pipelines.writing.video_files import AlphaVideo, GifVideo, MatteVideo, OverlayVideo

__all__ = [
    "AlphaVideo",
    "AreasCsv",
    "CocoJson",
    "DavisPngs",
    "GifVideo",
    "IndexPngs",
    "Jsonl",
    "MatteVideo",
    "MotTxt",
    "MotsTxt",
    "OverlayVideo",
    "SavPngs",
    "Sink",
    "YtvisJson",
    "save_coco_video",
    "save_davis",
    "save_mot",
    "save_mots",
    "save_sav",
    "save_video",
    "save_ytvis",
    "tee",
    "write_all",
]

FILMS = {"overlay": OverlayVideo, "matte": MatteVideo, "alpha": AlphaVideo, "gif": GifVideo}


class Sink(Protocol):
    """Takes results in the order they are made."""

    def write(self, result: VideoFrameResult) -> None: ...

    def skip(self, frame: MissingFrame) -> None:
        """A frame that cannot be read; only called where such frames are left out."""

    def close(self) -> None: ...


def tee(results: Iterable[VideoFrameResult], sinks: Sequence[Sink]) -> Iterator[VideoFrameResult]:
    """Every result, after it was written to all sinks, which are closed when the results end, fail or are abandoned.

    Nothing happens until the results are asked for; `write_all` asks for all of them.
    """
    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        for result in results:
            for sink in sinks:
                sink.write(result)
            yield result


def write_all(results: Iterable[VideoFrameResult], sinks: Sequence[Sink]) -> int:
    """Writes every result to all sinks and closes them; returns how many there were."""
    return sum(1 for _ in tee(results, sinks))


def save_video(
    results: Iterable[VideoFrameResult],
    path: str | Path,
    kind: Literal["overlay", "matte", "alpha", "gif"] = "overlay",
    fps: float | None = None,
    *,
    overwrite: bool = False,
) -> Path:
    """Writes a video file: see `OverlayVideo`, `MatteVideo`, `AlphaVideo` and `GifVideo`.

    Args:
        path: its suffix chooses the format.
        fps: frames per second; default: from the time of the first two results, else 25.
        overwrite: replace a file that exists.

    Raises:
        OutputExistsError: the file exists and `overwrite` is False.
        ValueError: another kind or suffix, or there is no result.
    """
    if kind not in FILMS:
        raise ValueError(f"`kind` must be one of {', '.join(FILMS)}, got {kind!r}")
    results = iter(results)
    first = list(islice(results, 2))
    return _save(chain(first, results), path, lambda path: FILMS[kind](path, fps or _rate(first)), overwrite)


def save_davis(results: Iterable[VideoFrameResult], folder: str | Path, *, overwrite: bool = False) -> Path:
    """Writes palette PNGs as `DavisPngs` does; returns the folder. Raises as `save_video`."""
    return _save(results, folder, DavisPngs, overwrite)


def save_sav(results: Iterable[VideoFrameResult], folder: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a folder of PNGs per object as `SavPngs` does; returns the folder. Raises as `save_video`."""
    return _save(results, folder, SavPngs, overwrite)


def save_mots(results: Iterable[VideoFrameResult], path: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a text file of masks as `MotsTxt` does. Raises as `save_video`."""
    return _save(results, path, MotsTxt, overwrite)


def save_mot(results: Iterable[VideoFrameResult], path: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a text file of boxes as `MotTxt` does. Raises as `save_video`."""
    return _save(results, path, MotTxt, overwrite)


def save_ytvis(results: Iterable[VideoFrameResult], path: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a JSON file per video as `YtvisJson` does. Raises as `save_video`."""
    return _save(results, path, YtvisJson, overwrite)


def save_coco_video(results: Iterable[VideoFrameResult], path: str | Path, *, overwrite: bool = False) -> Path:
    """Writes a JSON file per video as `CocoJson` does. Raises as `save_video`."""
    return _save(results, path, CocoJson, overwrite)


def _save(results: Iterable[VideoFrameResult], path: str | Path, make: Callable[[Path], Sink], overwrite: bool) -> Path:
    path, results = Path(path), iter(results)
    check_free(path, overwrite)
    first = next(results, None)
    if first is None:
        raise ValueError(f"{path}: there is no result to write; a pass gives its results once, was it used up?")
    sink = make(path)
    if path.is_dir():
        _clear(path)
    write_all(chain([first], results), [sink])
    return path


def _clear(folder: Path) -> None:
    """Removes frames of an earlier run, which would stand among the new ones."""
    for picture in (*folder.glob("[0-9]*.png"), *folder.glob("[0-9][0-9][0-9]*/[0-9]*.png"), folder / IDS):
        picture.unlink(missing_ok=True)


def _rate(results: Sequence[VideoFrameResult]) -> float | None:
    """Results per second, from the time between the first two; None if it is not known."""
    if len(results) < 2:
        return None
    gap = abs(results[1].time - results[0].time)
    return 1 / gap if gap > 0 and math.isfinite(gap) else None
