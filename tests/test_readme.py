"""What the README shows runs as it stands there."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import av
import pytest
import torch

from sam2_hf import Sam2Config, Sam2Model
from tests.golden.recipe import golden_scene
from tests.tiny import saved_micro
from tests.training.toy import davis_folder, masks_folder

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PHOTO = ROOT / "src" / "sam2_hf" / "assets" / "coffee.jpg"
CHECKPOINT = "facebook/sam2.1-hiera-tiny"
SCRIPT = str(Path(sys.executable).with_name("sam2-hf"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working folder with everything the README names: a photo, photos, a checkpoint in its folder."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "photos").mkdir()
    for target in (folder / "photo.jpg", folder / "photos" / "one.jpg"):
        shutil.copy(PHOTO, target)
    write_clip(folder / "clip.mp4")
    for name in (CHECKPOINT, "sam2.1-hiera-tiny"):
        saved_micro(folder / name)
    masks_folder(folder / "cells", 4)
    davis_folder(folder / "davis", 1, frames=3)
    return folder


def write_clip(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 600, 400, "yuv420p"
        for index in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(golden_scene(400, 600, index), format="rgb24")))
        container.mux(stream.encode())


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


@pytest.mark.filterwarnings("ignore::sam2_hf.pipelines.candidate_counts.NothingFoundWarning")  # of random weights
def test_python_examples_run_one_after_the_other(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    script = folder / "readme.py"
    script.write_text("\n".join(blocks("python")))
    names = runpy.run_path(str(script))
    assert set(names["masks"]) == set(range(6)) and names["masks"][3].shape == (2, 400, 600)
    assert names["refined"].pred_masks.shape[:3] == (1, 1, 1)
    assert "torch.Size([1, 3, 400, 600])" in capsys.readouterr().out


def shown_commands() -> list[str]:
    """Commands that the README and `--help` show, each once."""
    from sam2_hf.cli.main import app

    helps = "\n".join(command.callback.__doc__ for command in app.registered_commands)
    shown = re.findall(r"^(sam2-hf [a-z]+ .*)$", README, re.M) + re.findall(r"Example: (sam2-hf .*)$", helps, re.M)
    return list(dict.fromkeys(shlex.join(shlex.split(line, comments=True)) for line in shown))


# These have tests of their own: a large file, half a minute of tracing, a peer that loads no model as small as this
ELSEWHERE = ("sam2-hf convert", "sam2-hf export", "sam2-hf benchmark")


@pytest.mark.parametrize("line", [line for line in shown_commands() if not line.startswith(ELSEWHERE)])
def test_commands_run(folder, line):
    arguments = shlex.split(line)[1:]
    if arguments[0] != "info" and "--model" not in arguments:
        arguments += ["--model", CHECKPOINT]
    if arguments[0] in ("predict", "track", "eval"):
        arguments += ["--overwrite"]
    if arguments[0] == "train":
        arguments += ["--max-steps", "1"]
    done = subprocess.run([SCRIPT, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_command_is_shown():
    from sam2_hf.cli.main import app

    names = {command.name or command.callback.__name__ for command in app.registered_commands}
    assert {line.split()[1] for line in shown_commands()} == names


@pytest.mark.slow
def test_conversion_command_runs_on_a_file_of_a_released_size(tmp_path):
    from sam2_hf.checkpoints.key_map import to_original

    (line,) = [line for line in shown_commands() if line.startswith("sam2-hf convert")]
    source, target = shlex.split(line)[2:]
    torch.save({"model": to_original(Sam2Model(Sam2Config.tiny()).state_dict())}, tmp_path / source)
    done = subprocess.run([SCRIPT, *shlex.split(line)[1:]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / target / "model.safetensors").exists()


def test_first_screen_names_both_commands():
    assert all(command in "\n".join(README.splitlines()[:20]) for command in ("make demo", "make test"))


def test_parity_in_the_readme_is_what_was_measured():
    """The README rounds up what docs/parity.md lists."""
    table = (ROOT / "docs" / "parity.md").read_text()
    pictures = table.partition("| video scenario")[0]
    rows = [line.split("|")[2:-1] for line in pictures.splitlines() if re.match(r"\| 2\.[01] ", line)]
    assert len(rows) == 10
    logits = max(float(value) for row in rows for value in row[1:3])
    scores = max(float(row[3]) for row in rows)
    claimed = re.search(r"mask logits within (\S+), IoU scores within\s+(\S+),", README)
    assert logits <= float(claimed[1]) <= 2 * logits
    assert scores <= float(claimed[2]) <= 2 * scores


def test_every_proof_of_the_wish_list_is_a_test():
    table = (ROOT / "docs" / "user-asks.md").read_text()
    proofs = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", table)
    assert len(proofs) > 20
    for file, name in proofs:
        assert (ROOT / file).exists(), file
        assert not name or f"\ndef {name}(" in (ROOT / file).read_text(), name


def test_what_the_documents_import_is_there():
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    lines = [line for path in documents for line in re.findall(r"^(?:from|import) sam2_hf.*$", path.read_text(), re.M)]
    assert len(lines) > 5
    for line in lines:
        exec(line, {})


def test_every_file_of_the_package_has_its_line_in_the_architecture():
    told = (ROOT / "docs" / "architecture.md").read_text()
    files = {path.stem for path in (ROOT / "src").rglob("*.py") if path.parent.name != "cli"}
    assert sorted(name for name in files - {"__init__", "__main__"} if name not in told) == []
