"""DAVIS, and everything that is laid out like it."""

from pathlib import Path

from sam2_hf.datasets.clips import VOID_VALUE, IdMapClip, LabelledClip
from sam2_hf.datasets.registry import dataset_format
from sam2_hf.errors import SourceError
from sam2_hf.processing.picture_files import natural_order, pictures_in


@dataset_format("davis")
def open_davis(root: Path, *, void_value: int | None = VOID_VALUE) -> list[LabelledClip]:
    """`JPEGImages/<clip>` and `Annotations/<clip>`, with a resolution folder between or not; or a folder per clip with
    both in it."""
    clips: list[LabelledClip] = []
    for name, frames, folder in frame_folders(root):
        by_name = {path.stem: index for index, path in enumerate(frames)}
        files = natural_order(folder.glob("*.png"))
        if unknown := [path for path in files if path.stem not in by_name]:
            raise SourceError(f"{unknown[0]}: belongs to no frame of {name}")
        truth = {by_name[path.stem]: path for path in files}
        if truth:
            clips.append(IdMapClip(name, frames, truth, void_value=void_value))
    return clips


def frame_folders(root: Path) -> list[tuple[str, list[Path], Path]]:
    """(name, frames, folder of annotations) of every clip below a DAVIS-like root that has annotations."""
    if (root / "JPEGImages").is_dir():
        pairs = _clip_folders(root / "JPEGImages", root / "Annotations")
    else:
        inside = (path for path in root.iterdir() if (path / "JPEGImages").is_dir())
        pairs = [(path.name, path / "JPEGImages", path / "Annotations") for path in natural_order(inside)]
    found = []
    for name, frames, annotations in pairs:
        if annotations.is_dir():
            found.append((name, pictures_in(frames), annotations))
    return found


def _clip_folders(frames: Path, annotations: Path) -> list[tuple[str, Path, Path]]:
    """Clips below two parallel folders; DAVIS has a folder named after the resolution between."""
    folders = natural_order(path for path in frames.iterdir() if path.is_dir())
    if len(folders) == 1 and not pictures_in(folders[0]) and (annotations / folders[0].name).is_dir():
        return _clip_folders(folders[0], annotations / folders[0].name)
    return [(path.name, path, annotations / path.name) for path in folders]
