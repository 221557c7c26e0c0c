"""`sam2-hf`: the commands and their exit codes. Nothing heavy is imported before a command runs."""

import os
import sys
import warnings
from typing import Annotated

import typer

from sam2_hf.cli.benchmark import benchmark
from sam2_hf.cli.convert import convert
from sam2_hf.cli.eval import evaluate
from sam2_hf.cli.exit_codes import ExitCode, code_for
from sam2_hf.cli.export import export
from sam2_hf.cli.info import info
from sam2_hf.cli.predict import predict
from sam2_hf.cli.track import track
from sam2_hf.cli.train import train

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.command()(predict)
app.command()(track)
app.command()(train)
app.command("eval")(evaluate)
app.command()(benchmark)
app.command()(convert)
app.command()(export)
app.command()(info)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sam2-hf {version('sam2-hf')}")
        raise typer.Exit


@app.callback()
def commands(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Segment Anything 2: click, box or mask in, exact masks out.

    Start with `sam2-hf predict photo.jpg --point 300,150`, and see `sam2-hf COMMAND --help`.
    """


def run() -> None:
    """The console script."""
    try:
        _run()
    except SystemExit as end:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            _leave(end.code)
        raise


def _leave(code: int | str | None) -> None:
    """Ends one of several processes without taking the interpreter down first.

    PyTorch's gloo threads outlive their group once a model was wrapped in DistributedDataParallel. One that lets go of
    a tensor while the interpreter goes down needs its lock and aborts the process (SIGABRT, after all work is done).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _run() -> None:
    warnings.showwarning = lambda message, *args, **kwargs: typer.echo(f"warning: {message}", err=True)
    verbose = any(argument in ("-v", "--verbose") for argument in sys.argv[1:])
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        if verbose:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(code_for(error))


if __name__ == "__main__":  # `python -m sam2_hf.cli.main`, as several processes are started
    run()
