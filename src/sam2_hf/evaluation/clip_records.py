"""Records of clips that are measured, in the output folder and nowhere else, with what they were made from."""

import hashlib
import json
from pathlib import Path, PurePosixPath

from sam2_hf.disk.whole import write_whole

CLIPS = "clips"
DIGEST = 12  # letters


class ClipRecords:
    """`<folder>/clips/<name>.json`: what was measured on a clip, the mark that it is finished.

    A record counts only for the model, the choices and the files that it was made from.

    Args:
        folder: of the run.
        made_by: names the model's weights and the choices of the protocol, as `made_by` does.
    """

    def __init__(self, folder: Path, made_by: str):
        self.folder, self.made_by = folder / CLIPS, made_by

    def path(self, clip) -> Path:
        """The file of a clip."""
        return self.folder / f"{safe_name(clip.name)}.json"

    def read(self, clip) -> dict | None:
        """The record of a clip; None if there is none, or one that was made from something else."""
        try:
            entry = json.loads(self.path(clip).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        is_ours = isinstance(entry, dict) and entry.get("made_by") == self.made_by
        return entry["record"] if is_ours and entry.get("clip") == clip_digest(clip) else None

    def write(self, clip, record: dict) -> None:
        """Keeps the record of a clip."""
        entry = {"made_by": self.made_by, "clip": clip_digest(clip), "record": record}
        write_whole(self.path(clip), json.dumps(entry).encode(), overwrite=True)


def safe_name(name: str) -> str:
    """A name below a folder, whatever a data set calls its clip; names may hold sub-folders.

    An absolute name, one that climbs out with "..", and one that is too long for a file get a digest.
    """
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    plain = "/".join(parts)
    is_short = all(len(part.encode()) <= 200 for part in parts)
    if plain == name and is_short:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST]
    return f"{parts[-1][:40] if parts else 'clip'}-{digest}" if not is_short or not parts else f"{plain}-{digest}"


def made_by(weights: str, choices: dict) -> str:
    """A digest of the weights and of plain choices."""
    text = json.dumps([weights, choices], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def clip_digest(clip) -> str:
    """A digest of a clip's files: their names and sizes, and the masks where they are not files of their own."""
    frames = [getattr(clip, "path", None), *getattr(clip, "frames", ())]
    truth = [*getattr(clip, "truth", {}).values(), *_pictures_in(getattr(clip, "folder", None))]
    digest = hashlib.sha256(str(getattr(clip, "num_frames", 0)).encode())
    for path in (*frames, *truth):
        if isinstance(path, Path):
            digest.update(f"{path.name}:{path.stat().st_size if path.exists() else None};".encode())
    if not truth and getattr(clip, "labelled_frames", ()):
        for object_id, mask in clip.masks(clip.labelled_frames[0]).items():
            digest.update(f"{object_id}:{mask.shape};".encode() + mask.tobytes())
    return digest.hexdigest()[:DIGEST]


def _pictures_in(folder: Path | None) -> list[Path]:
    return [] if folder is None else sorted(folder.rglob("*.png"))
