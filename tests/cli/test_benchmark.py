"""`sam2-hf benchmark`: what it takes, writes and refuses."""

import json

import pytest
from typer.testing import CliRunner

from sam2_hf.cli import benchmark as benchmark_command
from sam2_hf.cli.main import app
from sam2_hf.evaluation.benchmark import WORKS
from tests.tiny import saved_micro

SHORT = ("--work", "encode,click", "--rounds", "1", "--device", "cpu", "--quiet")


def run(*arguments):
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])


def test_table_and_json_are_written(tmp_path):
    model = saved_micro(tmp_path / "model", image_size=64)
    asked = run("--model", model, *SHORT, "--results", tmp_path / "b.json")
    assert asked.exit_code == 0, asked.output
    assert "| encode a picture |" in asked.stdout
    record = json.loads((tmp_path / "b.json").read_text())
    assert [row["work"] for row in record["rows"]] == ["encode a picture", "one click"]
    assert run("--model", model, *SHORT, "--results", tmp_path / "b.json").exit_code != 0
    told = run("--model", model, *SHORT, "--results", tmp_path / "b.md", "--json")
    assert json.loads(told.stdout)["peer"] == "none"
    assert (tmp_path / "b.md").read_text().startswith("cpu")


def test_a_model_that_the_peer_cannot_load_is_named(tmp_path):
    model = saved_micro(tmp_path / "model", image_size=64)
    asked = run("--model", model, "--peer", "transformers", *SHORT)
    assert asked.exit_code != 0
    assert "loads models with 64 memory channels only, this one has" in (asked.output + str(asked.exception))


def test_what_the_command_takes_is_what_is_measured():
    """The command names works without importing what measures them."""
    assert benchmark_command.WORKS == WORKS


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--size", "huge"], "--size takes tiny"),
        (["--work", "sleep"], "--work takes encode"),
        (["--objects", "1,x"], "--objects takes numbers"),
        (["--peer", "jax"], "there is no peer 'jax'"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_made(given, told):
    asked = run(*given)
    assert asked.exit_code != 0
    assert told in asked.output or told in str(asked.exception)
