"""Options that several commands share."""

from typing import Annotated

import typer

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Hub id, folder, .pt or .safetensors file; 'auto': a release from cache or Hub, else the small "
        "'embedded' one; 'stand-in': untrained.",
    ),
]
Revision = Annotated[str | None, typer.Option(help="Revision of the Hub repository.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps or xpu.")]
Dtype = Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")]
Output = Annotated[str | None, typer.Option("--output", "-o", help="Folder to write; default: runs/<command>/<n>.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of an earlier run.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No messages, no progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask the Hub; take what is on this machine.")]


def say(message: str, quiet: bool) -> None:
    """A message for people, on stderr; stdout carries the summary only."""
    if not quiet:
        typer.echo(message, err=True)
