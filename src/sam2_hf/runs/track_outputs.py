"""What a run over a video writes: the kinds of `save` and their files."""

from pathlib import Path

from sam2_hf.pipelines.writing import video_writers as writers
from sam2_hf.runs.track_settings import FILES

RESULTS, STATE, PROMPTS = FILES["json"], "session.safetensors", "prompts.json"
FILMS = {
    "overlay": writers.OverlayVideo,
    "matte": writers.MatteVideo,
    "alpha": writers.AlphaVideo,
    "gif": writers.GifVideo,
}
OTHERS = {
    "masks": writers.IndexPngs,
    "csv": writers.AreasCsv,
    "davis": writers.DavisPngs,
    "sav": writers.SavPngs,
    "mots": writers.MotsTxt,
    "mot": writers.MotTxt,
    "ytvis": writers.YtvisJson,
    "coco": writers.CocoJson,
}


def make_sinks(folder: Path, kinds: tuple[str, ...], fps: float | None, keep: int) -> list:
    """The sinks of a run; the first is that of the records, which a resumed run goes by.

    Args:
        keep: records of an earlier part that stay.
    """
    sinks: list = [writers.Jsonl(folder / RESULTS, keep)]
    for kind in kinds:
        if kind in FILMS:
            sinks.append(FILMS[kind](folder / FILES[kind], fps))
        elif kind in OTHERS:
            sinks.append(OTHERS[kind](folder / FILES[kind]))
    return sinks


def planned(folder: Path, kinds: tuple[str, ...]) -> list[Path]:
    """Files of a run, and folders with files in them."""
    return [folder / name for name in (*(FILES[kind] for kind in kinds), RESULTS, STATE, PROMPTS)]
