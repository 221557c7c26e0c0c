"""What is measured: `EvaluateSettings`."""

from dataclasses import dataclass
from pathlib import Path

from sam2_hf.errors import ConfigError, SourceError
from sam2_hf.runs.settings import RunSettings, free

VIDEO_KINDS = {"davis": "davis", "mose": "davis", "lvos": "davis", "ytvos": "davis", "sav": "sav"}
KINDS = {**VIDEO_KINDS, "masks": "masks", "folder": "masks", "coco": "coco", "sa1b": "sa1b", "labelme": "labelme"}
PROTOCOLS = ("semi", "clicks", "box", "everything", "interactive-offline", "interactive-online", "metrics", "speed")
PICTURE_PROTOCOLS = ("clicks", "box", "everything")
CLICK_PROMPTS = {"1": "1-click", "3": "3-click", "5": "5-click"}
PROMPTS = ("mask", "box", *CLICK_PROMPTS, *CLICK_PROMPTS.values())


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(RunSettings):
    """A run over data sets with true masks.

    Attributes:
        roots: folders of the data sets.
        dataset, protocol: of `KINDS` and `PROTOCOLS`.
        prompt: of `semi`, one of `PROMPTS`.
        all_masks: of `semi`, every true mask is a prompt.
        max_clicks: of `clicks`, per object.
        points_per_side, min_iou, min_stability: of `everything`; None: as the checkpoint recommends.
        pred: of `metrics`, the folder of masks to score.
        upstream: track as the released numbers were made.
        fill_hole_area: in low-resolution pixels; None: as the policy has it.
        keep_first_last, keep_void: first and last frames count; value 255 is an object.
        per_frame, baselines: keep scores of single frames; score what is had without a model too.
        passes, objects, stream, compiled: of `speed`, see `SpeedOptions`.
        clips, exclude, limit: which clips.
        workers: processes of `metrics`.
        shard: "k/N": every N-th clip from k on; the jobs share `output`.
    """

    roots: tuple[str, ...]
    dataset: str = "davis"
    protocol: str = "semi"
    prompt: str = "mask"
    all_masks: bool = False
    max_clicks: int = 5
    points_per_side: int = 32
    min_iou: float | None = None
    min_stability: float | None = None
    pred: str | None = None
    upstream: bool = False
    fill_hole_area: int | None = None
    keep_first_last: bool = False
    keep_void: bool = False
    per_frame: bool = False
    baselines: bool = False
    passes: int = 25
    objects: tuple[int, ...] = (1, 2, 4, 8, 16)
    stream: tuple[int, ...] = (100, 1000)
    compiled: bool = False
    clips: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    workers: int = free(1)
    shard: str | None = free(None)

    def __post_init__(self):
        super().__post_init__()
        for name, known in (("dataset", KINDS), ("protocol", PROTOCOLS), ("prompt", PROMPTS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"--{name} takes {', '.join(known)}, got {getattr(self, name)!r}")
        if self.protocol not in PICTURE_PROTOCOLS and self.dataset not in VIDEO_KINDS:
            raise ConfigError(f"--protocol {self.protocol} needs videos: --dataset {', '.join(VIDEO_KINDS)}")
        if (self.protocol == "metrics") != (self.pred is not None):
            raise ConfigError("--protocol metrics and --pred FOLDER belong together")
        if self.protocol == "metrics" and len(self.roots) > 1:
            raise ConfigError("--protocol metrics takes one --root; score data sets one by one")
        if self.shard is not None and self.overwrite:
            raise ConfigError("--overwrite with --shard would remove what the other jobs have done")
        if not self.roots:
            raise ConfigError("name the folder of a data set with --root")

    def check_roots(self) -> None:
        """Refuses folders that are not there, before anything heavy is imported.

        Raises:
            SourceError: no such folder.
        """
        for folder in (*self.roots, *([] if self.pred is None else [self.pred])):
            if not Path(folder).is_dir():
                raise SourceError(f"{folder}: there is no such folder")

    @property
    def kind(self) -> str:
        """Of the data set, as it is opened."""
        return KINDS[self.dataset]

    @property
    def first_prompt(self) -> str:
        """The prompt by its whole name."""
        return CLICK_PROMPTS.get(self.prompt, self.prompt)
