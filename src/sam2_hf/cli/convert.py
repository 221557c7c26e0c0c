"""`sam2-hf convert`: checkpoints between the original layout and the Hub's."""

from pathlib import Path
from typing import Annotated

import typer

from sam2_hf.cli import options


def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Weight file or folder in any accepted layout.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="Folder to write; with --to meta the .pt to write.")],
    to: Annotated[str, typer.Option(help="sam2_hf or transformers (one layout serves both), or meta.")] = "sam2_hf",
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="config.json, for models of no released size.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="Refuse SRC if its SHA-256 is another.")] = None,
    weights_key: Annotated[str | None, typer.Option(help="Top-level key to read instead of `model`.")] = None,
    image_only: Annotated[bool, typer.Option("--image-only", help="Accept weights without the memory part.")] = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Load the result back and compare.")] = True,
    push_to_hub: Annotated[str | None, typer.Option(metavar="REPO", help="Upload the result.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make that repository private.")] = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Convert a checkpoint: Meta or Ultralytics .pt to a folder for from_pretrained, or back.

    Example: sam2-hf convert sam2.1_hiera_tiny.pt sam2.1-hiera-tiny
    """
    if to not in ("sam2_hf", "transformers", "meta"):
        raise typer.BadParameter(f"--to takes sam2_hf, transformers or meta, got {to!r}")
    if to == "meta" and push_to_hub:
        raise typer.BadParameter("--push-to-hub uploads folders; leave out --to meta")
    from sam2_hf.conversion import convert_checkpoint
    from sam2_hf.modeling.configuration import Sam2Config

    def report(line: str) -> None:
        options.say(line, quiet)

    if sha256 is not None:
        convert_checkpoint.check_sha256(source, sha256)
    settings = Sam2Config.from_json_file(config) if config else None
    shared = {"config": settings, "weights_key": weights_key, "report": report}
    if to == "meta":
        typer.echo(convert_checkpoint.reverse(source, target, **shared))
        return
    folder = convert_checkpoint.convert(source, target, allow_image_only=image_only, verify=check, **shared)
    typer.echo(folder)
    if push_to_hub:
        typer.echo(convert_checkpoint.push(folder, push_to_hub, private=private))
