"""`sam2-hf convert`: checkpoints between the original layout and the Hub's."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sam2_hf.cli import options
from sam2_hf.errors import CheckpointError

HUB = "Hub"


def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Weight file or folder in any accepted layout.")],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="DST", help="Folder to write; with --to meta the .pt to write. Or --output.", show_default=False
        ),
    ] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="The same as DST.")] = None,
    to: Annotated[
        Literal["sam2_hf", "transformers", "meta"], typer.Option(help="One layout serves the first two.")
    ] = "sam2_hf",
    reverse: Annotated[bool, typer.Option("--reverse", help="The same as --to meta.")] = False,
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="config.json, for models of no released size.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Refuse SRC if its SHA-256 is another.")] = None,
    weights_key: Annotated[
        str | None, typer.Option(help="Top-level key to read instead of `model`, such as ema.")
    ] = None,
    image_only: Annotated[bool, typer.Option("--image-only", help="Accept weights without the memory part.")] = False,
    allow_image_only: Annotated[bool, typer.Option("--allow-image-only", hidden=True)] = False,  # its earlier name
    check: Annotated[bool, typer.Option("--check/--no-check", help="Load the result back and compare.")] = True,
    no_verify: Annotated[bool, typer.Option("--no-verify", hidden=True)] = False,  # the same as --no-check
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="REPO", help="Upload the result.", rich_help_panel=HUB)
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make that repository private.", rich_help_panel=HUB)
    ] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Convert a checkpoint: Meta or Ultralytics .pt to a folder for from_pretrained, or back.

    Example: sam2-hf convert sam2.1_hiera_tiny.pt sam2.1-hiera-tiny
    """
    if (target is None) == (output is None):
        raise typer.BadParameter("say once what to write: DST or --output")
    is_original = reverse or to == "meta"
    if is_original and push_to_hub:
        raise typer.BadParameter("--push-to-hub uploads folders; leave out --to meta and --reverse")
    if not Path(source).exists():
        raise CheckpointError(f"{source}: no such file or folder")
    from sam2_hf.checkpoints import conversion
    from sam2_hf.modeling.configuration import Sam2Config

    if sha256 is not None:
        conversion.check_sha256(source, sha256)
    shared = {
        "config": Sam2Config.from_json_file(config) if config else None,
        "weights_key": weights_key,
        "report": lambda line: options.say(line, quiet),
    }
    target = target or output
    if is_original:
        typer.echo(conversion.reverse(source, target, **shared))
        return
    image_only, check = image_only or allow_image_only, check and not no_verify
    folder = conversion.convert(source, target, allow_image_only=image_only, verify=check, **shared)
    typer.echo(folder)
    if push_to_hub:
        typer.echo(conversion.push(folder, push_to_hub, private=private))
