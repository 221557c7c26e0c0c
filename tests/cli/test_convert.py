"""`sam2-hf convert` in this process, on an original checkpoint of the micro configuration."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers.utils import logging

from sam2_hf.cli.main import run
from sam2_hf.modeling.model import Sam2Model
from tests.golden.recipe import golden_state_dict
from tests.tiny import micro_config

LAYOUT = Path(__file__).parents[1] / "golden" / "layouts" / "sam2.1_hiera_micro.json"


@pytest.fixture(scope="module")
def original() -> dict[str, torch.Tensor]:
    return golden_state_dict(json.loads(LAYOUT.read_text()), object_score_bias=-0.155)


@pytest.fixture
def checkpoint(original, tmp_path) -> Path:
    torch.save({"model": original}, tmp_path / "micro.pt")
    return tmp_path / "micro.pt"


@pytest.fixture
def config(tmp_path) -> Path:
    micro_config("2.1").save_pretrained(tmp_path / "config")
    return tmp_path / "config" / "config.json"


@pytest.fixture
def convert(monkeypatch, capsys):
    """Calls the command as the console script does; returns exit code, stdout and stderr."""

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sam2-hf", "convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run()
        return int(stop.value.code or 0), *capsys.readouterr()

    return call


def entries(folder: Path) -> list[str]:
    """What lies in a folder, hidden names too."""
    return sorted(entry.name for entry in folder.iterdir())


def test_original_to_folder_and_back_is_bit_equal(convert, checkpoint, config, original, tmp_path):
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest().upper()
    code, stdout, stderr = convert(checkpoint, tmp_path / "hub", "--config", config, "--sha256", digest)
    assert (code, stdout) == (0, f"{tmp_path / 'hub'}\n")
    assert "verified" in stderr
    assert Sam2Model.from_pretrained(tmp_path / "hub", output_loading_info=True)[1]["missing_keys"] == set()
    code, stdout, _ = convert(tmp_path / "hub", tmp_path / "back.pt", "--to", "meta")
    assert (code, stdout) == (0, f"{tmp_path / 'back.pt'}\n")
    back = torch.load(tmp_path / "back.pt", weights_only=True)["model"]
    assert list(back) == list(original)
    assert [name for name, tensor in original.items() if not torch.equal(back[name], tensor)] == []
    assert entries(tmp_path) == ["back.pt", "config", "hub", "micro.pt"]


def test_quiet_conversion_says_nothing_but_the_folder(convert, checkpoint, config, tmp_path):
    logging.enable_progress_bar()  # as in a new process
    code, stdout, stderr = convert(checkpoint, tmp_path / "hub", "--config", config, "--quiet")
    assert (code, stdout, stderr) == (0, f"{tmp_path / 'hub'}\n", "")


def test_wrong_sha256_stops_with_6_and_writes_nothing(convert, checkpoint, config, tmp_path):
    code, stdout, stderr = convert(checkpoint, tmp_path / "hub", "--config", config, "--sha256", 64 * "0")
    assert (code, stdout) == (6, "")
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in stderr
    assert entries(tmp_path) == ["config", "micro.pt"]


@pytest.mark.parametrize("options", [[], ["--sha256", 64 * "0"], ["--to", "meta"]])
def test_missing_checkpoint_stops_with_6_and_is_named(convert, tmp_path, options):
    code, stdout, stderr = convert(tmp_path / "none.pt", tmp_path / "out", *options)
    assert (code, stdout) == (6, "")
    assert stderr.startswith(f"error: {tmp_path / 'none.pt'}: ")
    assert entries(tmp_path) == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_truncated_checkpoint_stops_with_6_one_line_and_no_folder(convert, checkpoint, config, tmp_path, share):
    data = checkpoint.read_bytes()
    checkpoint.write_bytes(data[: int(share * len(data))])
    code, stdout, stderr = convert(checkpoint, tmp_path / "hub", "--config", config)
    assert (code, stdout) == (6, "")
    assert stderr.startswith(f"error: {checkpoint}: ")
    assert stderr.count("\n") == 1
    assert entries(tmp_path) == ["config", "micro.pt"]


def test_checkpoint_of_sam_1_stops_with_6_and_names_the_family(convert, tmp_path):
    names = ("image_encoder.patch_embed.proj.weight", "image_encoder.blocks.0.attn.qkv.weight")
    torch.save({name: torch.zeros(4, 3) for name in names}, tmp_path / "sam_vit_b.pth")
    code, _, stderr = convert(tmp_path / "sam_vit_b.pth", tmp_path / "hub")
    assert code == 6
    assert "SAM 1" in stderr
    assert entries(tmp_path) == ["sam_vit_b.pth"]


def test_unreleased_size_without_config_stops_with_6_and_asks_for_it(convert, checkpoint, tmp_path):
    code, _, stderr = convert(checkpoint, tmp_path / "hub")
    assert code == 6
    assert "--config" in stderr
    assert entries(tmp_path) == ["micro.pt"]


def test_configuration_of_the_other_version_stops_with_6(convert, checkpoint, tmp_path):
    micro_config("2.0").save_pretrained(tmp_path / "config")
    code, _, stderr = convert(checkpoint, tmp_path / "hub", "--config", tmp_path / "config" / "config.json")
    assert code == 6
    assert "2.1" in stderr
    assert "2.0" in stderr
    assert entries(tmp_path) == ["config", "micro.pt"]


@pytest.mark.parametrize("to", ["sam2_hf", "meta"])
def test_existing_output_stops_with_7_and_is_kept(convert, checkpoint, config, tmp_path, to):
    output = tmp_path / "output"
    if to == "meta":
        output.write_text("kept")
    else:
        output.mkdir()
        (output / "notes.txt").write_text("kept")
    code, stdout, stderr = convert(checkpoint, output, "--config", config, "--to", to)
    assert (code, stdout) == (7, "")
    assert str(output) in stderr
    assert entries(tmp_path) == ["config", "micro.pt", "output"]
    assert (output if to == "meta" else output / "notes.txt").read_text() == "kept"


@pytest.mark.parametrize("options", [["--to", "onnx"], ["--to", "meta", "--push-to-hub", "me/sam2"], ["--unknown"]])
def test_options_that_mean_nothing_stop_with_2(convert, checkpoint, tmp_path, options):
    code, stdout, _ = convert(checkpoint, tmp_path / "output", *options)
    assert (code, stdout) == (2, "")
    assert entries(tmp_path) == ["micro.pt"]


def test_names_of_the_script_and_of_the_command_mean_the_same(convert, checkpoint, config, original, tmp_path):
    code, _, stderr = convert(checkpoint, "--output", tmp_path / "hub", "--config", config, "--no-verify")
    assert (code, "verified" in stderr) == (0, False)
    code, stdout, _ = convert(tmp_path / "hub", "--output", tmp_path / "back.pt", "--reverse")
    assert (code, stdout.strip()) == (0, str(tmp_path / "back.pt"))
    written = torch.load(tmp_path / "back.pt", weights_only=True)["model"]
    assert all(torch.equal(written[name], original[name]) for name in original)


def test_script_of_the_checkout_is_the_command(tmp_path):
    script = Path(__file__).parents[2] / "conversion" / "convert_checkpoint.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "none.pt", "--output", tmp_path / "out"], capture_output=True, text=True
    )
    assert done.returncode == 6
    assert done.stderr == f"error: {tmp_path / 'none.pt'}: no such file or folder\n"


@pytest.mark.parametrize("where", [[], ["folder", "--output", "folder"]])
def test_output_is_named_once(convert, checkpoint, tmp_path, where):
    code, _, stderr = convert(checkpoint, *where)
    assert code == 2
    assert "DST or --output" in stderr
    assert entries(tmp_path) == ["micro.pt"]
