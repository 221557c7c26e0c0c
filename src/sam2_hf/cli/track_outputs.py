"""What `sam2-hf track` writes: the kinds of `--save` and their files."""

from pathlib import Path

from sam2_hf.cli.run_folder import earlier_run
from sam2_hf.errors import OutputExistsError

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
RESULTS, STATE, PROMPTS = FILES["json"], "session.safetensors", "prompts.json"
FILMS = ("overlay", "matte", "alpha", "gif")


def make_sinks(folder: Path, kinds: tuple[str, ...], fps: float | None, keep: int) -> list:
    """The sinks of a run; the first is that of the records, which a resumed run goes by.

    Args:
        keep: records of an earlier part that stay.
    """
    from sam2_hf.pipelines.writing import video_writers as writers

    classes = {
        "overlay": writers.OverlayVideo,
        "masks": writers.IndexPngs,
        "matte": writers.MatteVideo,
        "alpha": writers.AlphaVideo,
        "gif": writers.GifVideo,
        "csv": writers.AreasCsv,
        "davis": writers.DavisPngs,
        "sav": writers.SavPngs,
        "mots": writers.MotsTxt,
        "mot": writers.MotTxt,
        "ytvis": writers.YtvisJson,
        "coco": writers.CocoJson,
    }
    sinks = [writers.Jsonl(folder / RESULTS, keep)]
    for kind in kinds:
        if kind != "json":
            path = folder / FILES[kind]
            sinks.append(classes[kind](path, fps) if kind in FILMS else classes[kind](path))
    return sinks


def check_free(folder: Path, kinds: tuple[str, ...]) -> None:
    """Refuses a folder that has a file which this run would write.

    Raises:
        OutputExistsError: the first of them.
    """
    names = (*(FILES[kind] for kind in kinds), RESULTS, STATE, PROMPTS)
    taken = next((folder / name for name in names if (folder / name).exists()), None)
    if taken is not None:
        raise OutputExistsError(f"{taken}: exists already; pass --overwrite or another --output")


def clear(folder: Path, kinds: tuple[str, ...]) -> None:
    """Removes what this run will write anew, and what an earlier run of this command wrote there."""
    earlier = earlier_run(folder)
    if earlier.get("command") == "track":
        kinds = (*kinds, *_kinds_of(earlier))
    for name in (*(FILES[kind] for kind in kinds), RESULTS, STATE, PROMPTS):
        path = folder / name
        if path.is_dir():
            for picture in [*path.glob("[0-9]*.png"), *path.glob("[0-9]*/[0-9]*.png")]:
                picture.unlink()
            (path / "ids.json").unlink(missing_ok=True)
        else:
            path.unlink(missing_ok=True)


def _kinds_of(record: dict) -> list[str]:
    saved = ",".join(record["options"].get("save") or ["overlay"]).split(",")
    return [kind.strip() for kind in saved if kind.strip() in FILES]
