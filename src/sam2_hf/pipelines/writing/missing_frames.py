"""A frame of a video that cannot be read, as files of results show it: never as a frame on which nothing was found.

| files | what stands for it |
|---|---|
| overlay, GIF | grey with a cross, for as long as a frame |
| matte | black |
| cut-out | all transparent |
| `results.jsonl` | a record of status "unreadable" with the reason, which is not read back as a result |
| YouTube-VIS | null for every object, and its place in `skipped` of the video |
| PNG folders, COCO, MOT, MOTS, CSV | nothing: frames have their own numbers there |
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sam2_hf.pipelines.records import UNREADABLE
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.processing.rle import Masks

GREY, LINES = (96, 96, 96), (160, 160, 160)


@dataclass(frozen=True, kw_only=True)
class MissingFrame:
    """A frame that was to be looked at.

    Attributes:
        frame: counted from 0.
        reason: why it cannot be read.
        source: path of the video.
    """

    frame: int
    reason: str
    source: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Its record, in the schema of results."""
        empty = VideoFrameResult(**_nothing((0, 0)), source=self.source, frame=self.frame).to_dict()
        return {**empty, "width": None, "height": None, "status": UNREADABLE, "error": self.reason}

    def shown(self, size: tuple[int, int]) -> VideoFrameResult:
        """What films show: no objects on a picture that says that there is none.

        Args:
            size: (height, width) of the film.
        """
        height, width = size
        picture = Image.new("RGB", (width, height), GREY)
        canvas = ImageDraw.Draw(picture)
        for ends in ((0, 0, width - 1, height - 1), (0, height - 1, width - 1, 0)):
            canvas.line(ends, fill=LINES, width=max(1, min(size) // 60))
        return VideoFrameResult(**_nothing(size), source=self.source, frame=self.frame, image=picture)


def _nothing(size: tuple[int, int]) -> dict[str, Any]:
    """Fields of a result without objects."""
    scores = dict.fromkeys(("iou_scores", "stability", "object_scores"), np.zeros(0, dtype=np.float32))
    flags = dict.fromkeys(("is_visible", "is_prompted"), np.zeros(0, dtype=bool))
    masks = Masks([], size)
    return {"size": size, "masks": masks, "object_ids": (), "boxes": masks.boxes(), **scores, **flags}
