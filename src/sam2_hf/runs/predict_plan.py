"""What a run over pictures is going to do, before anything is loaded or written."""

from dataclasses import dataclass
from pathlib import Path

from sam2_hf.disk.run_folder import Inputs, RunFolder
from sam2_hf.disk.whole import is_here
from sam2_hf.errors import OutputExistsError, PromptError
from sam2_hf.pipelines.reading.picture_items import PICTURE_SUFFIXES
from sam2_hf.pipelines.reading.source_lists import LIST_SUFFIXES
from sam2_hf.pipelines.reading.sources import Pictures, SourceOptions, pictures_from
from sam2_hf.pipelines.writing.drawing import as_colour
from sam2_hf.runs.output_names import output_names
from sam2_hf.runs.predict_outputs import CROPS, PredictOutputs
from sam2_hf.runs.predict_settings import NO_PROMPT, PredictSettings
from sam2_hf.runs.prompt_options import list_digests


@dataclass(frozen=True, kw_only=True)
class PredictPlan:
    """What is read and written.

    Attributes:
        settings: of the run.
        pictures: in order.
        names: from the key of each picture that is known to its name in the output.
        folder: of the run.
        outputs: what is written there.
        read: files besides the pictures that are read: prompts, masks.
    """

    settings: PredictSettings
    pictures: Pictures
    names: dict[str, str]
    folder: RunFolder
    outputs: PredictOutputs
    read: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuses to write over what is read, over each other, or over what no run wrote.

        Raises:
            OutputExistsError, ConfigChangedError: as `RunFolder.check`.
        """
        planned = self.outputs.planned(self.names.values())
        twice = next((file for number, file in _numbered(planned) if file in number), None)
        if twice is not None:
            raise OutputExistsError(f"{twice}: two pictures would be written there; segment them in two runs")
        self.folder.check(
            overwrite=self.settings.overwrite,
            resume=self.settings.resume,
            planned=planned,
            inputs=Inputs.of(
                *(_file_of(item.source) for item in self.pictures.known),
                *(source for source in self.settings.sources if is_here(source) and Path(source).is_file()),
                *self.read,
                self.settings.model,
            ),
        )

    def entries(self) -> list[dict]:
        """Of each picture that is known its source and its files."""
        entries = []
        for item in self.pictures.known:
            name = self.names[item.key]
            files = [str(file) for file in self.outputs.files(name).values()]
            if CROPS in self.outputs.kinds:
                files.append(str(self.outputs.folder / CROPS / f"{name}_<id>_<label>.png"))
            entries.append({"source": item.source, "files": files})
        return entries


def plan_of(settings: PredictSettings, *, read: tuple[str, ...] = (), reserve: bool = True) -> PredictPlan:
    """The plan of a run. Opens no picture and loads no model.

    Args:
        read: files that the requests were read from, which are never written over.
        reserve: take the folder that is chosen by default.

    Raises:
        PromptError: no prompt, or prompts that mean nothing together.
        SourceError: a source without a picture.
    """
    how = ("recursive", "start", "end", "stride", "offline")
    pictures = pictures_from(settings.sources, SourceOptions(**{name: getattr(settings, name) for name in how}))
    _check_prompts(settings, pictures)
    drawing: dict = {
        "alpha": settings.alpha,
        "points": not settings.everything,
    }  # a grid of clicks would hide the picture
    if settings.palette is not None:
        drawing["palette"] = [as_colour(colour) for colour in settings.palette]
    names = output_names([item.key for item in pictures.known], PICTURE_SUFFIXES)
    folder = settings.folder("predict", reserve=reserve)
    folder.options |= {"lists": list_digests(settings.sources, LIST_SUFFIXES)}
    outputs = PredictOutputs(
        folder=folder.path,
        kinds=settings.save,
        formats=settings.formats,
        polygons=settings.polygons,
        drawing=drawing,
        max_size=settings.max_size,
    )
    return PredictPlan(settings=settings, pictures=pictures, names=names, folder=folder, outputs=outputs, read=read)


def _check_prompts(settings: PredictSettings, pictures: Pictures) -> None:
    has_boxes = any(item.boxes for item in pictures.known)
    if settings.everything and (settings.requests or has_boxes):
        raise PromptError("--everything takes no prompts; leave out --point, --box, --mask, --prompts, boxes in lists")
    if has_boxes and settings.requests:
        raise PromptError("the list brings boxes; leave out --point, --box, --mask and --prompts")
    if not (settings.everything or settings.requests or has_boxes):
        raise PromptError(NO_PROMPT)


def _file_of(source: str) -> str:
    """The file that a picture is in: an archive, a video, or itself."""
    if is_here(source):
        return source
    return next((source[:place] for mark in "!#" if (place := source.rfind(mark)) > 0), source)


def _numbered(files: list[Path]):
    """Each file with those before it."""
    seen: set[Path] = set()
    for file in files:
        yield seen, file
        seen.add(file)
