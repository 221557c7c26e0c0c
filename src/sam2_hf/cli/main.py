"""`sam2-hf`: the commands and their exit codes. Nothing heavy is imported before a command runs."""

import sys
import warnings

import typer

from sam2_hf.cli.convert import convert
from sam2_hf.cli.eval import evaluate
from sam2_hf.cli.exit_codes import ExitCode, code_for
from sam2_hf.cli.info import info
from sam2_hf.cli.predict import predict
from sam2_hf.cli.track import track
from sam2_hf.cli.train import train

app = typer.Typer(
    help="Segment Anything 2: click, box or mask in, exact masks out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(predict)
app.command()(track)
app.command()(train)
app.command("eval")(evaluate)
app.command()(convert)
app.command()(info)


def run() -> None:
    """The console script."""
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
