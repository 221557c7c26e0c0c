"""A source of made-up scenes for `sam2-hf train`: no data are needed, real pictures may lend their surfaces.

    {"kind": "python", "root": "scenes.py", "count": 3000, "options": {"scene": {"size": 128}},
     "library": [{"kind": "davis", "root": "videos"}]}

`options.scene` has the fields of `SceneOptions`; pictures and objects of the `library` are cut up for backgrounds,
surfaces and some of the objects.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scene_renderer import SceneOptions, SceneRenderer
from scene_textures import PictureLibrary

from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.training.config import from_dict
from sam2_hf.training.own_sources import Lender
from sam2_hf.training.sources import TRIES, SamplingOptions, repeated
from sam2_hf.training.transforms import RawClip


class SceneSource:
    """Made-up clips; as many as asked for, each with its own number."""

    def __init__(self, renderer: SceneRenderer, count: int, options: SamplingOptions):
        self.renderer, self.count, self.options = renderer, count, options

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int, rng: np.random.Generator) -> RawClip:
        for _ in range(TRIES):
            frames, ids = self.renderer.render(rng, self.options.num_frames)
            if rng.random() < self.options.reverse:
                frames, ids = frames[::-1].copy(), ids[::-1].copy()
            shares = np.bincount(ids[0].ravel(), minlength=2)[1:] / ids[0].size
            visible = np.flatnonzero((shares > 0) & (shares <= self.options.max_area)) + 1
            count = min(len(visible), self.options.max_objects)
            if count:
                break
        else:
            raise SourceError("the scenes of these options show no object")
        chosen = rng.choice(visible, count, replace=False).tolist()
        if self.options.fill_objects:
            chosen = repeated(chosen, self.options.max_objects)
        return RawClip(
            frames=torch.from_numpy(frames).permute(0, 3, 1, 2),
            masks=torch.from_numpy(np.stack([ids == key for key in chosen])),
            void=None,
            name=f"scene {index}",
        )


def open_source(entry, base: Path, lenders: Sequence[Lender]) -> SceneSource:
    """The source of an entry of a recipe.

    Raises:
        ConfigError: an option that does not exist.
    """
    if unknown := sorted(set(entry.options) - {"scene"}):
        raise ConfigError(f"scenes.py: there is no option {unknown[0]!r}; the option is scene")
    options = from_dict(SceneOptions, entry.options.get("scene", {}), "scene")
    library = PictureLibrary.from_clips([clip for lender in lenders for clip in lender.clips])
    return SceneSource(SceneRenderer(options, library), entry.count, entry.sampling)
