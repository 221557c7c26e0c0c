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


@pytest.mark.parametrize("command", [[], ["predict"], ["track"], ["train"], ["eval"], ["convert"], ["info"]])
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


@pytest.mark.parametrize("command", ["predict", "track", "train", "eval", "convert", "info"])
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
