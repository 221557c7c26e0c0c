"""What a training run shows of itself: `curves.png` from its log, `examples.png` from its model."""

from collections.abc import Callable, Sequence
from pathlib import Path

from transformers.utils import logging

from sam2_hf.disk.whole import write_whole
from sam2_hf.evaluation.learning_curves import learning_curves
from sam2_hf.evaluation.training_examples import draw_examples, examples_sheet, masks_from_boxes
from sam2_hf.modeling.model import Sam2Model
from sam2_hf.pipelines.writing.exports import png_bytes
from sam2_hf.training.checkpoints import CURVES, EXAMPLES, TrainingFolder
from sam2_hf.training.mixing import MixedSource

logger = logging.get_logger(__name__)


class TrainPictures:
    """Draws into the folder of a run. What cannot be drawn is told once and ends no training.

    Args:
        folder: of the run.
        processor: of the model.

    Attributes:
        drawn: files that were written.
    """

    def __init__(self, folder: TrainingFolder, processor):
        self.folder, self.processor = folder, processor
        self.drawn: list[Path] = []
        self._examples: list = []
        self._before: list = []
        self._step = -1
        self._failed: set[str] = set()

    def begin(self, model: Sam2Model, sources: Sequence[MixedSource], seed: int) -> None:
        """Chooses the pictures, and keeps the masks of the model that the run starts from.

        Args:
            model: in evaluation mode.
            sources: held out, or those that are trained on; see `draw_examples`.
        """

        def choose() -> None:
            examples = draw_examples(sources, self.processor.target_size, seed)
            self._before = masks_from_boxes(model, self.processor, examples)
            self._examples = examples

        self._try(EXAMPLES, choose)

    def draw(self, step: int, model: Sam2Model) -> None:
        """Draws what there is after a step; the masks once for each step.

        Args:
            model: in evaluation mode.
        """
        self._try(CURVES, lambda: self._write(CURVES, learning_curves(self.folder.records())))
        if self._examples and step != self._step:
            self._try(EXAMPLES, lambda: self._draw_examples(step, model))

    def _draw_examples(self, step: int, model: Sam2Model) -> None:
        now = masks_from_boxes(model, self.processor, self._examples)
        self._write(EXAMPLES, examples_sheet(self._examples, self._before, now, step))
        self._step = step

    def _write(self, name: str, picture) -> None:
        path = write_whole(self.folder.path / name, png_bytes(picture), overwrite=True)
        if path not in self.drawn:
            self.drawn.append(path)

    def _try(self, name: str, draw: Callable[[], None]) -> None:
        try:
            draw()
        except Exception as error:
            if name not in self._failed:
                self._failed.add(name)
                logger.warning(f"{self.folder.path / name}: cannot be drawn ({error or type(error).__name__})")
