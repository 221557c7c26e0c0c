"""A folder has one run at a time, and only what runs wrote there may be replaced."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sam2_hf.disk.run_folder import Inputs, RunFolder, difference, written_in
from sam2_hf.disk.whole import whole_file, write_whole
from sam2_hf.errors import ConfigChangedError, OutputExistsError


def finished(path: Path, *names: str, options: dict | None = None) -> RunFolder:
    """A run that wrote these files."""
    folder = RunFolder(path, "predict", options or {})
    with folder.locked():
        folder.begin(keep=False)
        for name in names:
            write_whole(path / name, b"ours", overwrite=False)
        folder.write("done")
    return folder


def check(path: Path, command="predict", options: dict | None = None, **how) -> None:
    RunFolder(path, command, options or {}).check(**{"overwrite": False, "resume": False, **how})


def names(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*"))


def test_run_json_lists_what_was_written_and_nothing_else_stays(tmp_path):
    finished(tmp_path / "out", "a.png", "deep/b.json")
    assert names(tmp_path / "out") == ["a.png", "deep", "deep/b.json", "run.json"]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["command"], record["status"], record["files"]) == ("predict", "done", ["a.png", "deep/b.json"])


def test_folder_that_nothing_was_written_to_is_taken_away_again(tmp_path):
    folder = RunFolder(tmp_path / "deep" / "out", "predict", {})
    with pytest.raises(RuntimeError), folder.locked():
        raise RuntimeError
    assert names(tmp_path) == []
    (tmp_path / "mine").mkdir()
    with RunFolder(tmp_path / "mine", "predict", {}).locked():
        pass
    assert names(tmp_path) == ["mine"]


def test_overwriting_removes_what_the_run_wrote_and_nothing_else(tmp_path):
    finished(tmp_path, "a.png", "crops/cat.png", "masks/1.png")
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "masks" / "mine.png").write_text("mine")
    folder = RunFolder(tmp_path, "predict", {"another": 1})
    with folder.locked():
        folder.check(overwrite=True, resume=False, planned=[tmp_path / "a.png"])
        folder.begin(keep=False)
        folder.write("done")
    assert names(tmp_path) == ["masks", "masks/mine.png", "mine.txt", "run.json"]


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_file_that_no_run_wrote_is_never_in_the_plan(tmp_path, how):
    if how:
        finished(tmp_path, "a.png")
    (tmp_path / "coco.json").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"coco\.json: exists already, and is not a file of a run"):
        check(tmp_path, planned=[tmp_path / "a.png", tmp_path / "coco.json"], **how)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "5.png").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"5\.png: exists already"):
        check(tmp_path, planned=[tmp_path / "masks"], **how)


def test_inputs_are_neither_written_nor_removed(tmp_path):
    finished(tmp_path, "overlay.mp4", "masks/0.png")
    for source in (tmp_path / "overlay.mp4", tmp_path / "masks"):
        with pytest.raises(OutputExistsError, match="is read by this run"):
            check(tmp_path, overwrite=True, inputs=Inputs.of(source))
    with pytest.raises(OutputExistsError, match="is read by this run and would be written"):
        check(tmp_path / "new", planned=[tmp_path / "masks" / "0.png"], inputs=Inputs.of(tmp_path / "masks" / "0.png"))
    check(tmp_path, overwrite=True, inputs=Inputs.of("rtsp://camera", "0", None, "x" * 5000))


def test_run_json_of_somebody_else_is_in_the_way(tmp_path):
    (tmp_path / "run.json").write_text('{"my": "run"}')
    for how in ({}, {"overwrite": True}):
        with pytest.raises(OutputExistsError, match=r"run\.json: is not of a run of ours"):
            check(tmp_path, **how)


def test_names_that_lead_out_of_the_folder_are_not_removed(tmp_path):
    finished(tmp_path / "out", "a.png")
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.txt").write_text("mine")
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    record["files"] += ["../mine.txt", str(tmp_path / "mine.txt"), "link/b.txt", "absent/c.txt"]
    (tmp_path / "out" / "run.json").write_text(json.dumps(record))
    folder = RunFolder(tmp_path / "out", "predict", {})
    with folder.locked():
        folder.begin(keep=False)
    assert (tmp_path / "mine.txt").exists() and (tmp_path / "elsewhere" / "b.txt").exists()
    assert not (tmp_path / "out" / "a.png").exists()


def test_a_run_is_neither_mixed_nor_gone_on_with_by_accident(tmp_path):
    finished(tmp_path, options={"alpha": 0.5, "prompts": [{"box": [1, 2, 3, 4]}]})
    same = {"alpha": 0.5, "prompts": [{"box": (1, 2, 3, 4)}]}
    check(tmp_path, options=same, resume=True)
    with pytest.raises(OutputExistsError, match="holds a run already"):
        check(tmp_path, options=same)
    with pytest.raises(OutputExistsError, match="holds a run of `predict`, not of `track`"):
        check(tmp_path, "track", options=same, resume=True)
    with pytest.raises(OutputExistsError, match="no run to resume"):
        check(tmp_path / "new", resume=True)
    other = {**same, "prompts": [{"box": (1, 2, 3, 5)}]}
    words = r"was made with prompts\[0\]\.box=\[1, 2, 3, 4\], now \[1, 2, 3, 5\]"
    with pytest.raises(ConfigChangedError, match=words):
        check(tmp_path, options=other, resume=True)


def test_differences_are_named_from_the_outside_in():
    assert difference({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 2]}) is None
    assert difference({"a": 1}, {"a": 1, "b": 2}) == ("b", None, 2)
    assert difference({"a": [{"x": 1}]}, {"a": [{"x": 1}, {"x": 2}]}) == ("a", [{"x": 1}], [{"x": 1}, {"x": 2}])


HOLD = """
import sys, time
from pathlib import Path
from sam2_hf.disk.run_folder import RunFolder
from sam2_hf.disk.whole import whole_file, write_whole
folder = RunFolder(sys.argv[1], "predict", {})
with folder.locked(shared=len(sys.argv) > 2):
    folder.begin(keep=False)
    write_whole(Path(sys.argv[1]) / "a.png", b"ours", overwrite=False)
    if len(sys.argv) > 3:
        with whole_file(Path(sys.argv[1]) / "deep" / "b.png") as file:
            file.write("half")
            file.flush()
            print("held", flush=True)
            time.sleep(60)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds the folder."""
    started = []

    def start(*more: str):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "out"), *more], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_second_run_is_refused_until_the_first_has_ended_or_was_killed(tmp_path, holder):
    process, folder = holder(), RunFolder(tmp_path / "out", "predict", {})
    with pytest.raises(OutputExistsError, match="another run is writing there"), folder.locked():
        pass
    assert (tmp_path / "out" / "a.png").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    with folder.locked():
        assert folder.written == {"a.png"}  # noted before it was written
        folder.begin(keep=False)
        folder.write("done")
    assert names(tmp_path / "out") == ["run.json"]


def test_half_a_file_of_a_killed_run_goes_with_the_rest_of_it(tmp_path, holder):
    process = holder("shared", "and writes")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "deep/.b.part.png" in names(tmp_path / "out")
    folder = RunFolder(tmp_path / "out", "predict", {})
    with folder.locked():
        folder.check(overwrite=True, resume=False)
        folder.begin(keep=False)
        folder.write("done")
    assert names(tmp_path / "out") == ["run.json"]


def test_file_that_could_not_be_written_is_not_listed(tmp_path):
    folder = RunFolder(tmp_path, "predict", {})
    with folder.locked():
        folder.begin(keep=False)
        with pytest.raises(RuntimeError), whole_file(tmp_path / "a.png"):
            raise RuntimeError
        record = folder.write("failed")
    assert record["status"] == "failed"
    assert names(tmp_path) == ["run.json"]
    assert json.loads((tmp_path / "run.json").read_text())["files"] == []


def test_jobs_that_share_a_folder_keep_others_out_together(tmp_path, holder):
    holder("shared")
    folder = RunFolder(tmp_path / "out", "predict", {})
    with folder.locked(shared=True):
        pass
    with pytest.raises(OutputExistsError, match="another run"), folder.locked():
        pass


def _take(path: str, gate, results) -> None:
    gate.wait()
    try:
        with RunFolder(path, "predict", {}).locked():
            time.sleep(0.3)
            results.put(os.getpid())
    except OutputExistsError:
        results.put(None)


def test_of_many_that_begin_together_one_has_the_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    gate, results = context.Barrier(6), context.Queue()
    processes = [context.Process(target=_take, args=(str(tmp_path / "out"), gate, results)) for _ in range(6)]
    for process in processes:
        process.start()
    found = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    assert sum(entry is not None for entry in found) == 1


def test_half_a_line_of_the_journal_is_left_out(tmp_path):
    (tmp_path / ".written").write_text('"a.png"\n"b.p')
    assert written_in(tmp_path) == {"a.png"}


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    for name, message in {"file": "file: is a file", "file/deep": "file: is a file", "link": "link: is a link"}.items():
        with pytest.raises(OutputExistsError, match=message), RunFolder(tmp_path / name, "predict", {}).locked():
            pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_of_another_command_is_never_overwritten(tmp_path):
    training = RunFolder(tmp_path / "out", "train", {})
    with training.locked():
        training.check(overwrite=False, resume=False)
        training.begin(keep=False)
        training.write("done")
    other = RunFolder(tmp_path / "out", "predict", {})
    for how in ({"overwrite": True, "resume": False}, {"overwrite": False, "resume": True}):
        with pytest.raises(OutputExistsError, match="holds a run of `train`, not of `predict`"):
            other.check(**how)
