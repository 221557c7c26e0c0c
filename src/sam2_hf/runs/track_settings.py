"""What is followed through videos, and what is written: `TrackSettings`."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sam2_hf.errors import ConfigError, OutputExistsError, PromptError, SourceError
from sam2_hf.runs.settings import RunSettings, free

FILES = {
    "overlay": "overlay.mp4",
    "masks": "masks",
    "matte": "matte.mkv",
    "alpha": "alpha.webm",
    "gif": "overlay.gif",
    "json": "results.jsonl",
    "csv": "areas.csv",
    "davis": "davis",
    "sav": "sav",
    "mots": "mots.txt",
    "mot": "mot.txt",
    "ytvis": "ytvis.json",
    "coco": "coco.json",
}
KINDS = tuple(FILES)
DIRECTIONS, KEEP = ("forward", "backward", "both"), ("window", "all")
OF_EVERYTHING = (
    "detect_every",
    "track_iou",
    "max_objects",
    "points_per_side",
    "min_iou",
    "min_stability",
    "min_area",
)
OF_PROMPTS = ("normalized", "direction")


@dataclass(frozen=True, kw_only=True)
class TrackSettings(RunSettings):
    """A run over videos, each with a folder of its own where there are several.

    Attributes:
        sources: video files, folders of frames, addresses, numbers of cameras.
        requests: `sam2_hf.processing.prompts.ObjectPrompt` with their frames.
        normalized: points and boxes are fractions 0..1.
        everything: find and follow all objects, without prompts; `detect_every`, `track_iou`, `max_objects` and
            `min_area` as in `VideoGeneratorOptions`, `points_per_side`, `min_iou` and `min_stability` as in
            `Sam2MaskGenerator` (None: as the checkpoint recommends).
        direction, start, end, stride, max_frames: see `sam2_hf.pipelines.video_pass.VideoSpan`.
        skip_bad_frames: leave frames out that cannot be decoded, and show them as missing (see
            `sam2_hf.pipelines.writing.missing_frames`); a pass that is not forward, or a stream, ends at such a frame.
        keep, keep_corrections, max_prompted_frames, include_before_first_prompt, fill_hole_area, non_overlap: see
            `sam2_hf.tracking.policy.TrackingPolicy`.
        upstream: track as the original does.
        save: what to write, of `KINDS`.
        fps: of written videos; None: the source's.
        checkpoint_every: frames between two saves of the state.
        seed: of all random numbers.
    """

    sources: tuple[str, ...] = free(())
    requests: tuple[Any, ...] = ()
    normalized: bool = False
    everything: bool = False
    detect_every: int = 20
    track_iou: float = 0.5
    max_objects: int = 0
    points_per_side: int = 32
    min_iou: float | None = None
    min_stability: float | None = None
    min_area: int = 16
    direction: str = "forward"
    start: int | None = None
    end: int | None = None
    stride: int = 1
    max_frames: int | None = None
    skip_bad_frames: bool = False
    keep: str = "window"
    keep_corrections: bool = True
    max_prompted_frames: int | None = None
    include_before_first_prompt: bool = False
    fill_hole_area: int = 8
    non_overlap: bool = False
    upstream: bool = False
    save: tuple[str, ...] = ("overlay", "json")
    fps: float | None = None
    checkpoint_every: int = free(500)
    seed: int = 0

    def __post_init__(self):
        super().__post_init__()
        for name, known in (("direction", DIRECTIONS), ("keep", KEEP)):
            if getattr(self, name) not in known:
                raise ConfigError(f"--{name} takes {', '.join(known)}, got {getattr(self, name)!r}")
        unknown = next((kind for kind in self.save if kind not in KINDS), None)
        if unknown is not None:
            raise ConfigError(f"--save takes {', '.join(KINDS)}, got {unknown!r}")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ConfigError(f"--fps must be a positive number, got {self.fps}")
        if self.everything and self.direction != "forward":
            raise ConfigError("--direction does not go with --everything: new objects are found forward only")

    def check_sources(self) -> None:
        """Refuses what is not there, before anything heavy is imported.

        Raises:
            SourceError: a source that is neither a file or folder, nor an address or the number of a camera.
        """
        for source in self.sources:
            if "://" not in source and not source.isdigit() and not Path(source).exists():
                raise SourceError(f"{source}: no such video file or folder")

    def check_asked(self, has_prompts: bool) -> None:
        """Refuses a run that asks for nothing.

        Args:
            has_prompts: there are some, which may not have been read yet.

        Raises:
            PromptError: nothing is asked for.
        """
        if not self.everything and not has_prompts:
            raise PromptError("no prompt given; pass --point, --box, --mask, --init-masks, --prompts or --everything")

    def options(self) -> dict:
        """Plain values that a run which is gone on with must share; masks by their content."""
        from sam2_hf.runs.prompt_options import plain_requests

        return {"prompts": plain_requests(self.requests), **super().options()}

    def folders(self, root: Path) -> dict[str, Path]:
        """Where the run of each source goes.

        Raises:
            OutputExistsError: two sources of one name.
        """
        if len(self.sources) == 1:
            return {self.sources[0]: root}
        names = {source: Path(source.rstrip("/")).stem or source for source in self.sources}
        if len(set(names.values())) < len(self.sources):
            names = {source: Path(source.rstrip("/")).name for source in self.sources}
        if len(set(names.values())) < len(self.sources):
            raise OutputExistsError(f"{root}: two videos of one name would be written there; track them in two runs")
        return {source: root / name for source, name in names.items()}

    def part(self, kind: type) -> dict:
        """The fields that these settings share with another class."""
        mine = {entry.name for entry in fields(self)}
        return {entry.name: getattr(self, entry.name) for entry in fields(kind) if entry.name in mine}
