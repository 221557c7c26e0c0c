"""`sam2-hf predict`: masks of prompted objects in pictures."""

import glob
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.cli.exit_codes import ExitCode
from sam2_hf.errors import OutputExistsError, PromptError, Sam2Error, SourceError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif", ".jp2")
SAVE_KINDS = {"overlay": ".png", "json": ".json", "masks": ".npz"}


def predict(
    sources: Annotated[list[str], typer.Argument(metavar="SRC...", help="Pictures, folders or quoted globs.")],
    point: Annotated[list[str] | None, typer.Option(help="[ID:]x,y[,-] in pixels; ',-' marks a point outside.")] = None,
    box: Annotated[list[str] | None, typer.Option(help="[ID:]x0,y0,x1,y1 in pixels.")] = None,
    mask: Annotated[list[str] | None, typer.Option(help="[ID:]FILE, a black and white picture of the object.")] = None,
    normalized: Annotated[bool, typer.Option("--normalized", help="Points and boxes are fractions 0..1.")] = False,
    multimask: Annotated[bool, typer.Option("--multimask", help="Keep three candidates per object.")] = False,
    max_hole_area: Annotated[float, typer.Option(help="Fill holes up to this many low-resolution pixels.")] = 0.0,
    max_sprinkle_area: Annotated[float, typer.Option(help="Remove specks up to this many.")] = 0.0,
    save: Annotated[str, typer.Option(help="What to write, of overlay,json,masks.")] = "overlay,json",
    model: options.Model = "auto",
    revision: options.Revision = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.Json = False,
    no_progress: options.NoProgress = False,
    offline: options.Offline = False,
) -> None:
    """Segment objects in pictures, from points, boxes or masks.

    Example: sam2-hf predict photo.jpg --point 500,375 --box 2:10,20,300,400 -o out
    """
    from sam2_hf.cli.prompt_options import read_options

    kinds = _kinds(save)
    prompts = read_options(point or [], box or [], mask or [])
    if not prompts.object_ids:
        raise PromptError("no prompt given; pass --point, --box or --mask")
    pictures = _pictures(sources)
    folder = next_folder("predict") if output is None else Path(output)
    targets = {picture: _targets(folder, picture, pictures, kinds) for picture in pictures}
    _check_free(targets, overwrite)
    arguments = {**_arguments(prompts), "normalized": normalized, "multimask": multimask}
    arguments |= {"max_hole_area": max_hole_area, "max_sprinkle_area": max_sprinkle_area}

    from sam2_hf.cli.model_choice import load
    from sam2_hf.processing.prompts import read_prompts

    read_prompts(1, arguments.get("points"), arguments.get("labels"), arguments.get("boxes"))  # before the model
    network, processor, line = load(model, revision=revision, device=device, dtype=dtype, offline=offline)
    options.say(line, quiet)
    bar = not (quiet or no_progress or len(pictures) == 1)
    failed = _run(network, processor, targets, arguments, bar=bar, quiet=quiet, verbose=verbose)
    summary = {"output": str(folder), "pictures": len(pictures), "failed": failed}
    done = f"{len(pictures) - len(failed)} of {len(pictures)} pictures segmented, written to {folder}"
    typer.echo(json.dumps(summary) if as_json else done)
    if failed:
        raise typer.Exit(ExitCode.SOME_FAILED)


def _run(
    network, processor, targets: dict, arguments: dict, *, bar: bool, quiet: bool, verbose: bool
) -> dict[str, str]:
    """Segments picture by picture; returns the error of each picture that failed."""
    from tqdm import tqdm

    from sam2_hf.pipelines.image import segment

    def say(line: str) -> None:
        if not quiet:
            tqdm.write(line, file=sys.stderr)  # above the bar, if there is one

    failed = {}
    for picture, files in tqdm(targets.items(), disable=None if bar else True, unit="picture"):
        try:
            result = segment(network, processor, picture, **arguments)
        except Sam2Error as error:
            if verbose:
                raise
            failed[str(picture)] = str(error)
            say(str(error) if str(error).startswith(str(picture)) else f"{picture}: {error}")
            continue
        for file in files.values():
            result.save(file, overwrite=True)  # names were checked before the model was loaded
            say(f"{file}")
        say(f"{picture}: {result.summary()}")
    return failed


def _arguments(prompts) -> dict:
    """Prompts as `segment` takes them."""
    arguments: dict = {"object_ids": prompts.object_ids}
    if any(prompts.points):
        arguments |= {"points": [prompts.points], "labels": [prompts.labels]}
    if any(prompts.boxes):
        arguments["boxes"] = [prompts.boxes]
    if any(prompts.mask_files):
        if not all(prompts.mask_files):
            raise PromptError("give a --mask for every object or for none")
        arguments["masks"] = _read_masks(prompts.mask_files)
    return arguments


def _read_masks(files: list[str]):
    """(objects, height, width) of black and white pictures of one size."""
    import numpy as np

    from sam2_hf.cli.prompt_options import read_mask

    masks = [read_mask(file) for file in files]
    if len({mask.shape for mask in masks}) != 1:
        raise PromptError(f"mask files differ in size: {', '.join(map(str, {mask.shape for mask in masks}))}")
    return np.stack(masks)


def _kinds(save: str) -> list[str]:
    kinds = [kind.strip() for kind in save.split(",") if kind.strip()]
    unknown = [kind for kind in kinds if kind not in SAVE_KINDS]
    if unknown or not kinds:
        raise typer.BadParameter(f"--save takes {', '.join(SAVE_KINDS)}, got {save!r}")
    return kinds


def _pictures(sources: list[str]) -> list[Path]:
    """Files named one by one, in folders, or by globs, in natural order within each source."""
    found: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            matches = [file for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
            matches = [file for file in matches if not file.name.startswith(".")]
        elif path.exists():
            matches = [path]
        else:
            matches = [Path(match) for match in glob.glob(source, recursive=True)]
        if not matches:
            raise SourceError(f"{source}: no picture found; give a file, a folder with pictures or a quoted glob")
        found += sorted(matches, key=_natural)
    return list(dict.fromkeys(found))


def _natural(path: Path) -> list:
    """2 before 10."""
    import re

    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", str(path)) if part]


def next_folder(command: str) -> Path:
    """`runs/<command>/<n>` with the next free number."""
    runs = Path("runs", command)
    taken = [int(entry) for entry in (os.listdir(runs) if runs.is_dir() else []) if entry.isdigit()]
    return runs / str(max(taken, default=0) + 1)


def _targets(folder: Path, picture: Path, pictures: list[Path], kinds: list[str]) -> dict[str, Path]:
    """Output files of one picture. Pictures that share a stem keep their whole name."""
    shared = sum(other.stem == picture.stem for other in pictures) > 1
    stem = picture.name if shared else picture.stem
    return {kind: folder / f"{stem}{SAVE_KINDS[kind]}" for kind in kinds}


def _check_free(targets: dict[Path, dict[str, Path]], overwrite: bool) -> None:
    files = [file for own in targets.values() for file in own.values()]
    sources = {picture.resolve() for picture in targets}
    for file in files:
        if file.resolve() in sources:
            raise OutputExistsError(f"{file}: is a picture to be segmented; choose another --output")
    twice = next((file for file in files if files.count(file) > 1), None)
    if twice is not None:
        raise OutputExistsError(f"{twice}: two pictures of one name would be written there; segment them in two runs")
    existing = [file for file in files if file.exists()]
    if existing and not overwrite:
        raise OutputExistsError(f"{existing[0]}: exists already; pass --overwrite or another --output")
