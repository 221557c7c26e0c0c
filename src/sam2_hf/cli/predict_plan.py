"""What `sam2-hf predict` is going to do, before anything is loaded or written."""

import json
from pathlib import Path

import typer

from sam2_hf.cli import options
from sam2_hf.cli.predict_job import PredictSettings
from sam2_hf.cli.predict_outputs import FORMATS, KINDS, PredictOutputs
from sam2_hf.cli.run_folder import next_folder
from sam2_hf.errors import OutputExistsError, PromptError


def requests_of(chosen: dict) -> list:
    """What the options ask for in every picture; an empty list for nothing.

    Raises:
        PromptError: what cannot be meant.
    """
    from sam2_hf.cli.prompt_options import read_options
    from sam2_hf.pipelines.prompt_file import read_picture_prompts
    from sam2_hf.pipelines.requests import requests_from

    written = read_options(chosen["point"] or [], chosen["box"] or [], chosen["mask"] or [])
    if chosen["prompts"] is None:
        return requests_from(objects=[entry.as_object() for entry in written])
    if written:
        raise PromptError("--prompts is a file that says everything; leave out --point, --box and --mask")
    return read_picture_prompts(chosen["prompts"])


def pictures_of(chosen: dict):
    """`sam2_hf.pipelines.reading.sources.Pictures` of the sources."""
    from sam2_hf.pipelines.reading.sources import SourceOptions, pictures_from

    how = {name: chosen[name] for name in ("recursive", "start", "end", "stride", "offline")}
    return pictures_from(chosen["sources"], SourceOptions(**how))


def check_prompts(requests: list, pictures, everything: bool) -> None:
    """Refuses what cannot be meant before a model is loaded."""
    has_boxes = any(item.boxes for item in pictures.known)
    if everything and (requests or has_boxes):
        raise PromptError("--everything takes no prompts; leave out --point, --box, --mask, --prompts, boxes in lists")
    if has_boxes and requests:
        raise PromptError("the list brings boxes; leave out --point, --box, --mask and --prompts")
    if not (everything or requests or has_boxes):
        raise PromptError(
            "no prompt given; pass --point, --box, --mask or --prompts, a list.csv with boxes, or --everything"
        )


def outputs_of(chosen: dict) -> PredictOutputs:
    """What is written, and where."""
    kinds = options.listed(chosen["save"], KINDS, "--save") or ("overlay", "json")
    drawing = {"alpha": chosen["alpha"], "points": not chosen["everything"]}  # a grid of clicks would hide the picture
    if chosen["palette"] is not None:
        drawing["palette"] = _palette(chosen["palette"])
    return PredictOutputs(
        folder=next_folder("predict", reserve=not chosen["dry_run"])
        if chosen["output"] is None
        else Path(chosen["output"]),
        kinds=kinds,
        formats=options.listed(chosen["formats"], FORMATS, "--format"),
        drawing=drawing,
        max_size=chosen["max_size"],
    )


def _palette(text: str) -> list[tuple[int, int, int]]:
    from sam2_hf.pipelines.writing.drawing import as_colour

    try:
        return [as_colour(colour.strip()) for colour in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"--palette takes colours such as #ff0000,blue, got {text!r} ({error})") from error


def settings_of(chosen: dict, count: int | None) -> PredictSettings:
    """How the job is run over `count` pictures, None where that is not known."""
    filters = {"min_iou": chosen["min_iou"] or 0.0, "min_area": chosen["min_area"]}
    if chosen["everything"]:
        filters["top"] = chosen["max_det"]
    bar = count != 1 and not (chosen["quiet"] or chosen["no_progress"])
    same = ("batch_size", "workers", "show", "overwrite", "resume", "quiet", "verbose")
    return PredictSettings(filters=filters, bar=bar, **{name: chosen[name] for name in same})


def names_of(pictures) -> dict[str, str]:
    """From the key of each picture to its name in the output."""
    from sam2_hf.cli.output_names import output_names
    from sam2_hf.pipelines.reading.picture_items import PICTURE_SUFFIXES

    return output_names([item.key for item in pictures.known], PICTURE_SUFFIXES)


def check_files(pictures, names: dict[str, str], outputs: PredictOutputs, *, may_exist: bool) -> None:
    """Refuses to write over pictures, over each other, or over what is there."""
    inputs = {Path(item.source).resolve() for item in pictures.known}
    files = [*outputs.run_files(), *(file for name in names.values() for file in outputs.files(name).values())]
    seen: set[Path] = set()
    for file in files:
        if file.resolve() in inputs:
            raise OutputExistsError(f"{file}: is a picture to be segmented; choose another --output")
        if file in seen:
            raise OutputExistsError(f"{file}: two pictures would be written there; segment them in two runs")
        seen.add(file)
    taken = next((file for file in [*files, *_crops_there(outputs)] if file.exists()), None)
    if taken is not None and not may_exist:
        raise OutputExistsError(f"{taken}: exists already; pass --overwrite or another --output")


def _crops_there(outputs: PredictOutputs) -> list[Path]:
    """Pictures in the folder of crops, whose names depend on what is found."""
    return list((outputs.folder / "crops").rglob("*.png")) if "crops" in outputs.kinds else []


def list_run(pictures, names: dict[str, str], outputs: PredictOutputs, as_json: bool) -> None:
    """What a run would read and write."""
    entries = []
    for item in pictures.known:
        files = [str(file) for file in outputs.files(names[item.key]).values()]
        if "crops" in outputs.kinds:
            files.append(str(outputs.folder / "crops" / f"{names[item.key]}_<id>_<label>.png"))
        entries.append({"source": item.source, "files": files})
    if as_json:
        record = {"output": str(outputs.folder), "pictures": pictures.length, "inputs": entries, "dry_run": True}
        typer.echo(json.dumps(record))
        return
    for entry in entries:
        typer.echo(f"{entry['source']} -> {', '.join(entry['files'])}")
    count = pictures.length if pictures.length is not None else f"{len(entries)} and what else streams in"
    typer.echo(f"pictures: {count}; nothing was written")
