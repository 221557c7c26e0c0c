"""The command as a whole: version, help, completion."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.main

from sam2_hf.cli.main import app

SCRIPT = Path(sys.executable).with_name("sam2-hf")
HEAVY = {"torch", "transformers", "numpy", "PIL"}


def call(*arguments, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [SCRIPT, *arguments], capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def test_version_is_printed():
    done = call("--version")
    assert (done.returncode, done.stdout) == (0, f"sam2-hf {version('sam2-hf')}\n")


def test_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "sam2_hf", "--version"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, f"sam2-hf {version('sam2-hf')}\n")


@pytest.mark.parametrize(
    "command", [[], ["predict"], ["track"], ["train"], ["eval"], ["convert"], ["export"], ["info"]]
)
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys\nfrom sam2_hf.cli.main import app\n"
        f"try:\n    app({[*command, '--help']})\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "Usage:" in done.stdout
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("command", ["", "predict", "track", "train", "eval", "convert", "info"])
def test_help_cuts_nothing_at_80_columns(command):
    shown = call(*[command][: len(command)], "--help", COLUMNS="80", TERMINAL_WIDTH="80").stdout
    assert "Usage:" in shown and "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    program = typer.main.get_command(app)
    found = program.commands[command] if command else program
    names = [
        name for entry in found.params if not getattr(entry, "hidden", False) for name in entry.opts if "--" in name
    ]
    names += [name for entry in found.params if not getattr(entry, "hidden", False) for name in entry.secondary_opts]
    assert names and [name for name in names if name not in shown.split()] == []


@pytest.mark.parametrize(("processes", "goes_down"), [("1", True), ("2", False)])
@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("--no-such-option", 2)])
def test_one_of_several_processes_leaves_before_the_interpreter_goes_down(processes, goes_down, argument, code):
    """gloo's threads of a process group that was used outlive it and abort an interpreter that is going down."""
    program = (
        "import atexit, sys\natexit.register(print, 'down')\n"
        f"from sam2_hf.cli.main import run\nsys.argv = ['sam2-hf', {argument!r}]\nrun()"
    )
    environment = {**os.environ, "WORLD_SIZE": processes}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == code
    assert done.stdout.startswith(f"sam2-hf {version('sam2-hf')}\n") == (code == 0)
    assert done.stdout.endswith("down\n") == goes_down


@pytest.mark.parametrize("command", ["predict", "track", "train", "eval", "convert", "export", "info"])
def test_an_option_that_does_not_exist_is_wrong_usage(command):
    done = call(command, "--no-such-option")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such option" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_for_every_shell(shell):
    done = call("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0, done.stderr
    assert "_SAM2_HF_COMPLETE=complete_" in done.stdout


def test_completion_is_installed_and_completes(tmp_path):
    home = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = call("--install-completion", "bash", **home)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / ".bashrc").exists()
    done = call(_SAM2_HF_COMPLETE="complete_bash", COMP_WORDS="sam2-hf pre", COMP_CWORD="1")
    assert done.stdout.split() == ["predict"]
    done = call(_SAM2_HF_COMPLETE="complete_bash", COMP_WORDS="sam2-hf predict --ever", COMP_CWORD="2")
    assert done.stdout.split() == ["--everything"]


@pytest.mark.parametrize(
    ("command", "code", "complaint"),
    [
        (["predict", "photo.jpg"], 2, "no prompt given"),
        (["predict", "photo.jpg", "--point", "3;3"], 2, "3;3"),
        (["predict", "photo.jpg", "--point", "3,3", "--save", "film"], 2, "--save takes overlay"),
        (["predict", "photo.jpg", "--point", "3,3", "--resume"], 2, "--resume needs --output"),
        (["track", "absent.mp4", "--point", "3,3"], 3, "no such video file"),
        (["track", ".", "--fps", "-1", "--point", "3,3"], 2, "--fps must be"),
        (["track", "."], 2, "no prompt given"),
        (["eval", "--root", "davis", "--protocol", "fast"], 2, "--protocol takes"),
        (["train", "--dataset", "masks"], 2, "--dataset needs --root"),
    ],
)
def test_wrong_calls_are_answered_without_loading_torch(command, code, complaint):
    program = "import sys; from sam2_hf.cli.main import run\n"
    program += "try: run()\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True)
    assert done.stdout.split() == [str(code), "False"], done.stderr
    assert complaint in done.stderr


WRONG = {
    "predict --no-such-option": 2,
    "predict": 2,
    "predict . --point 3,3 --device gpu": 2,
    "predict . --point 3,3 --device cuda:one": 2,
    "predict . --point 3,3 --dtype fp8": 2,
    "predict . --point 3,3 --alpha 7": 2,
    "predict . --point 3,3 --palette nocolour": 2,
    "predict . --point nan,3": 2,
    "predict . --box 9,9,3,3": 2,
    "predict . --mask absent.png": 3,
    "predict . --prompts absent.json": 2,
    "predict absent.jpg --point 3,3": 3,
    "predict . --point 3,3 --model absent.pt": 6,
    "track": 2,
    "track . --point 3,3 --direction sideways": 2,
    "track . --point 3,3 --device gpu": 2,
    "track . --prompts absent.json": 2,
    "track . --init-masks absent": 3,
    "train --config absent.json": 3,
    "train --dataset pictures --root .": 2,
    "train --dataset masks --root absent": 3,
    "train --dataset masks --root . --preset fast": 2,
    "train --dataset masks --root . --dtype fp8": 2,
    "train --learning-rate x": 2,
    "eval": 2,
    "eval --root absent": 3,
    "eval --root . --limit x": 2,
    "eval --root . --model ./absent": 6,
    "benchmark --no-such-option": 2,
    "benchmark --peer nobody": 2,
    "benchmark --peer-dtype fp8": 2,
    "benchmark --model absent.pt": 6,
    "convert": 2,
    "convert absent.pt out": 6,
    "convert absent.pt out --to jpeg": 2,
    "export embedded": 2,
    "export embedded out --format jax": 2,
    "export embedded out --part head": 2,
    "export embedded out --opset 9": 2,
    "export absent.pt out": 6,
    "info --no-such-option": 2,
    "info a/b/c": 6,
}


def test_every_kind_of_wrong_call_of_every_command_is_answered_without_loading_torch(tmp_path):
    """A wrong flag, a wrong value, a missing argument, a file that is not there: all in one process."""
    program = (
        "import shlex, sys; from sam2_hf.cli.main import run\n"
        "for call in sys.argv[1:]:\n"
        "    sys.argv = ['sam2-hf', *shlex.split(call)]\n"
        "    try: run()\n"
        "    except SystemExit as end: print(call, end.code, 'torch' in sys.modules, sep='|')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *WRONG], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    answers = dict(line.split("|", 1) for line in done.stdout.splitlines())
    assert answers == {call: f"{code}|False" for call, code in WRONG.items()}


def test_names_that_commands_know_without_loading_what_they_belong_to():
    import sam2_hf.cli.main  # noqa: F401
    from sam2_hf.checkpoints.loading import DTYPES
    from sam2_hf.cli import options
    from sam2_hf.datasets.registry import dataset_formats
    from sam2_hf.evaluation.contenders import PEERS
    from sam2_hf.export.folder import SUFFIXES
    from sam2_hf.export.parts import PARTS
    from sam2_hf.modeling.model import WEIGHT_SUFFIXES
    from sam2_hf.runs import settings
    from sam2_hf.training.config import PRESETS

    assert set(options.DTYPES) == {"auto", *DTYPES}
    assert set(sys.modules["sam2_hf.cli.train"].DATASETS) == set(dataset_formats())
    assert set(sys.modules["sam2_hf.cli.train"].PRESETS) == set(PRESETS)
    assert sys.modules["sam2_hf.cli.benchmark"].PEERS == PEERS
    assert tuple(PARTS) == sys.modules["sam2_hf.cli.export"].PARTS
    assert tuple(SUFFIXES) == sys.modules["sam2_hf.cli.export"].FORMATS
    assert settings.WEIGHT_SUFFIXES == WEIGHT_SUFFIXES
