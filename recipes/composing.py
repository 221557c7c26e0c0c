"""A source of composed scenes for `sam2-hf train`: real objects on real pictures, as many as asked for.

    {"kind": "python", "root": "composing.py", "count": 3000,
     "options": {"cut_outs": "cutouts", "backgrounds": "backgrounds", "scene": {"size": 256}, "lending": {}},
     "library": [{"kind": "masks", "root": "photos", "exclude": ["@held-out.txt"], "max_side": 384}]}

Objects are cut from the pictures of the library and from RGBA files below `cut_outs`; they are put on pictures of the
library, whose own objects stay objects, and on picture files below `backgrounds`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from composing_pieces import Lending, Pieces
from composing_scene import Composer, ComposingOptions

from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.training.config import from_dict
from sam2_hf.training.own_sources import Lender
from sam2_hf.training.sources import TRIES, SamplingOptions, repeated
from sam2_hf.training.transforms import RawClip

KNOWN = ("cut_outs", "backgrounds", "scene", "lending")
SUFFIXES = (".webp", ".png", ".jpg")


class ComposedSource:
    """Composed clips; as many as asked for, each with its own number."""

    def __init__(self, composer: Composer, count: int, options: SamplingOptions):
        self.composer, self.count, self.options = composer, count, options

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int, rng: np.random.Generator) -> RawClip:
        for _ in range(TRIES):
            frames, ids, clear = self.composer.render(rng, self.options.num_frames)
            share = np.bincount(ids[0].ravel(), minlength=256) / ids[0].size
            visible = [number for number in clear if share[number] <= self.options.max_area]
            if visible:
                break
        else:
            raise SourceError("the composed scenes of these options show no object")
        count = min(len(visible), self.options.max_objects)
        chosen = rng.choice(visible, count, replace=False).tolist()
        if self.options.fill_objects:
            chosen = repeated(chosen, self.options.max_objects)
        return RawClip(
            frames=torch.from_numpy(frames).permute(0, 3, 1, 2),
            masks=torch.from_numpy(np.stack([ids == number for number in chosen])),
            void=None,
            name=f"composed {index}",
        )


def open_source(entry, base: Path, lenders: Sequence[Lender]) -> ComposedSource:
    """The source of an entry of a recipe.

    Raises:
        ConfigError: an option that does not exist.
        SourceError: a folder that is not there or is empty.
    """
    if unknown := sorted(set(entry.options) - set(KNOWN)):
        raise ConfigError(f"composing.py: there is no option {unknown[0]!r}; options are {', '.join(KNOWN)}")
    pieces = Pieces(
        lenders,
        _files(base, entry.options.get("cut_outs")),
        _files(base, entry.options.get("backgrounds")),
        from_dict(Lending, entry.options.get("lending", {}), "lending"),
    )
    scene = from_dict(ComposingOptions, entry.options.get("scene", {}), "scene")
    return ComposedSource(Composer(pieces, scene), entry.count, entry.sampling)


def _files(base: Path, folder: str | None) -> list[Path]:
    if folder is None:
        return []
    found = sorted(path for path in (base / folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SourceError(f"{base / folder}: holds no pictures")
    return found
