"""Renders the clip of the demo, `src/sam2_hf/assets/clip.mp4`: a made-up scene over the photograph beside it.

PYTHONPATH=recipes python -m scripts.render_demo_clip
"""

from pathlib import Path

import av
import numpy as np
from PIL import Image
from scene_renderer import SceneOptions, SceneRenderer
from scene_textures import PictureLibrary

from sam2_hf import EMBEDDED_CHECKPOINT

ASSETS = Path(EMBEDDED_CHECKPOINT).parent
OPTIONS = SceneOptions(size=320, max_objects=3, colony_probability=0, real_background=1, real_surface=0, real_object=0)
SEED, NUM_FRAMES, RATE = 2, 24, 12


def render(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames (frames, side, side, 3) and object ids (frames, side, side)."""
    library = PictureLibrary(pictures=[np.asarray(Image.open(ASSETS / "coffee.jpg"))])
    return SceneRenderer(OPTIONS, library).render(np.random.default_rng(seed), NUM_FRAMES)


def main() -> None:
    frames, ids = render(SEED)
    with av.open(str(ASSETS / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = OPTIONS.size, OPTIONS.size, "yuv420p"
        stream.options = {"crf": "20"}
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    for key in np.unique(ids[0])[1:]:
        rows, columns = np.nonzero(ids[0] == key)
        print(f"object {key}: box {columns.min()},{rows.min()},{columns.max() + 1},{rows.max() + 1} on frame 0")


if __name__ == "__main__":
    main()
