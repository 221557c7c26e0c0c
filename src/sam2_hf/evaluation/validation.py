"""What a training run measures between epochs: the protocols of evaluation on clips that are held out."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sam2_hf.datasets.clips import LabelledClip
from sam2_hf.errors import SourceError
from sam2_hf.evaluation.pictures import PictureProtocol
from sam2_hf.evaluation.semi_supervised import SemiSupervised

CLICKS = 5


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Measures a model on pictures and on videos.

    Attributes:
        processor: of the model's size.
        pictures: scored by clicks and boxes on every labelled frame.
        videos: scored by tracking from the masks of the first frame.
    """

    processor: object
    pictures: Sequence[LabelledClip] = ()
    videos: Sequence[LabelledClip] = ()

    def __post_init__(self):
        if not self.pictures and not self.videos:
            raise SourceError("nothing to validate on; name pictures or videos that are held out")

    def __call__(self, model) -> dict[str, float]:
        """Figures from 0 to 100; `score` is the mean of box mIoU, 1-click mIoU and J&F, of those that were measured."""
        figures: dict[str, float] = {}
        if self.pictures:
            for kind in ("box", "clicks"):
                protocol = PictureProtocol(model=model, processor=self.processor, kind=kind, max_clicks=CLICKS)
                figures |= _measured(protocol, self.pictures)
        if self.videos:
            with tempfile.TemporaryDirectory() as folder:
                protocol = SemiSupervised(model=model, processor=self.processor, folder=Path(folder))
                figures |= _measured(protocol, self.videos)
        headlines = [figures[name] for name in ("box_mIoU", "1_click_mIoU", "JF") if name in figures]
        return {**figures, "score": sum(headlines) / len(headlines)}


def _measured(protocol, clips: Sequence[LabelledClip]) -> dict[str, float]:
    overall = protocol.results([protocol.measure(clip) for clip in clips], [])["global"]
    return {name: value for name, value in overall.items() if isinstance(value, float)}
