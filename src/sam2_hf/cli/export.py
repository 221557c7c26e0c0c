"""`sam2-hf export`: the parts of a model as ONNX files, or for `torch.export`."""

from typing import Annotated

import typer

from sam2_hf.cli import options
from sam2_hf.errors import ConfigError
from sam2_hf.runs.settings import check_model_name

FORMATS = ("onnx", "torch")  # of `sam2_hf.export.folder`
PARTS = ("image-encoder", "decoder", "memory-encoder", "memory-attention")  # of `sam2_hf.export.parts`


def export(
    model: Annotated[str, typer.Argument(help="Hub id, folder, weight file, 'embedded' or 'auto'.")],
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder to write.")],
    file_format: Annotated[str, typer.Option("--format", help=f"{' or '.join(FORMATS)}.")] = "onnx",
    part: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(PARTS)}; default: all that there are weights for.")
    ] = None,
    memory_frames: Annotated[
        int | None, typer.Option(min=2, help="Places of the bank: one and the recent frames; default: the model's.")
    ] = None,
    max_prompted: Annotated[int, typer.Option(min=1, help="Prompted frames that are looked at.")] = 4,
    opset: Annotated[int, typer.Option(min=18, help="Of ONNX.")] = 18,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Run the files and compare with the model.")] = True,
    half: Annotated[bool, typer.Option("--half/--no-half", help="float16 weights and maps.")] = False,
    revision: options.Revision = None,
    offline: options.Offline = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Export a model for other runtimes: image encoder, decoder, memory encoder and memory attention.

    Example: sam2-hf export facebook/sam2.1-hiera-tiny tiny-onnx
    """
    parts = options.listed(part) or None
    if file_format not in FORMATS:
        raise ConfigError(f"--format takes {', '.join(FORMATS)}, got {file_format!r}")
    if unknown := [name for name in parts or () if name not in PARTS]:
        raise ConfigError(f"--part takes {', '.join(PARTS)}, got {unknown[0]!r}")
    check_model_name(model)
    from sam2_hf.checkpoints.loading import load
    from sam2_hf.export.folder import ExportOptions
    from sam2_hf.export.folder import export as write

    network, processor, line = load(model, revision=revision, device="cpu", dtype="fp32", offline=offline)
    options.say(line, quiet)
    chosen = ExportOptions(
        format=file_format,
        parts=parts,
        memory_frames=memory_frames,
        max_prompted=max_prompted,
        opset=opset,
        check=check,
        half=half,
    )
    say = lambda line: options.say(line, quiet)  # noqa: E731
    typer.echo(write(network, processor, folder, chosen, overwrite=overwrite, say=say))
