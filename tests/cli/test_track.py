"""`sam2-hf track` on a generated clip with the micro model, in this process."""

import csv
import json
import resource
import signal
import sys
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sam2_hf import Sam2InferenceSession
from sam2_hf.cli.main import run
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.writing.result_lines import WrittenResults
from sam2_hf.processing.pixels import open_picture
from sam2_hf.runs.track import TrackJob
from tests.golden.recipe import golden_scene
from tests.numbers import same_file, same_masks
from tests.tiny import micro_model, micro_processor, saved_micro

HEIGHT, WIDTH, NUM_FRAMES, SIDE = 54, 96, 22, 64


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return saved_micro(tmp_path_factory.mktemp("model"), SIDE)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(NUM_FRAMES):
            frame = av.VideoFrame.from_ndarray(golden_scene(HEIGHT, WIDTH, index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def track(monkeypatch, *arguments) -> int:
    monkeypatch.setattr(sys, "argv", ["sam2-hf", "track", *map(str, arguments)])
    try:
        run()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def records(folder: Path) -> list[VideoFrameResult]:
    return list(WrittenResults(folder / "results.jsonl"))


PROMPTS = ("--box", "0@1:20,10,60,40", "--point", "3@2:70,40", "--point", "3@2:10,10,-")
EVERYTHING = ("--save", "overlay,json,davis,coco,csv", "--no-progress")


@pytest.fixture(scope="module")
def whole(model, clip, tmp_path_factory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert track(monkeypatch, clip, *PROMPTS, *EVERYTHING, "--model", model, "-o", folder) == 0
    return folder


def test_records_are_those_of_a_session(whole, model, clip):
    found = records(whole)
    assert [result.frame for result in found] == list(range(NUM_FRAMES))
    assert [result.object_ids for result in found] == [(1,)] * 3 + [(1, 2)] * 19
    assert [result.time for result in found] == pytest.approx([0.1 * index for index in range(NUM_FRAMES)])
    session = Sam2InferenceSession(micro_model(image_size=SIDE), micro_processor(SIDE), video=clip)
    session.add_prompt(frame_index=0, object_id=1, box=[20, 10, 60, 40])
    session.add_prompt(frame_index=3, object_id=2, points=[[70, 40], [10, 10]], labels=[1, 0])
    for result, frame in zip(found, session.propagate(), strict=True):
        assert same_masks(result.masks, frame.masks)
        assert result.is_prompted.tolist() == frame.is_prompted.tolist()


def test_every_output_holds_the_masks(whole):
    found = records(whole)
    with av.open(str(whole / "overlay.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].average_rate == 10
        assert len(list(container.decode(video=0))) == NUM_FRAMES
    for result in found:
        numbers = np.asarray(open_picture(whole / "davis" / f"{result.frame:05d}.png"))
        expected = np.zeros((HEIGHT, WIDTH), np.uint8)
        for object_id, mask in reversed(list(zip(result.object_ids, result.masks, strict=True))):
            expected[mask] = object_id  # the lowest id wins
        assert np.array_equal(numbers, expected)
    annotations = json.loads((whole / "coco.json").read_text())["annotations"]
    assert {entry["track_id"] for entry in annotations} == {1, 2}
    for entry in annotations:
        row = found[entry["image_id"]].object_ids.index(entry["track_id"])
        rle = {**entry["segmentation"], "counts": entry["segmentation"]["counts"].encode()}
        assert coco.area(rle) == entry["area"] == found[entry["image_id"]].areas[row]
    with (whole / "areas.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(annotations)
    assert [int(row["area"]) for row in rows] == [entry["area"] for entry in annotations]
    assert json.loads((whole / "run.json").read_text())["status"] == "done"
    assert not [path for path in whole.rglob("*") if ".part" in path.name]


def test_interrupted_run_keeps_what_is_done_and_resumes_to_the_same_results(
    whole, model, clip, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "out"
    arguments = (clip, *PROMPTS, *EVERYTHING, "--model", model, "-o", folder)
    original = Sam2InferenceSession.step

    def interrupted(self, frame, *rest):
        if frame == 18:
            signal.raise_signal(signal.SIGINT)
        return original(self, frame, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Sam2InferenceSession, "step", interrupted)
        assert track(monkeypatch, *arguments) == 130
    assert f"-o {folder} --resume\n" in capsys.readouterr().err
    kept = (folder / "results.jsonl").read_bytes()
    assert kept.count(b"\n") == 19  # the frame at hand is finished
    with av.open(str(folder / "overlay.mp4")) as container:
        assert len(list(container.decode(video=0))) == 19
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"

    assert track(monkeypatch, *arguments, "--resume") == 0
    for path in whole.rglob("*"):
        if path.is_file() and path.name not in ("run.json", "session.safetensors"):
            assert same_file(folder / path.relative_to(whole), path), path.name
    assert (folder / "results.jsonl").read_bytes().startswith(kept)  # what was written stays, byte for byte


def test_resume_with_other_options_is_refused(whole, model, clip, monkeypatch, capsys):
    other = ("--box", "0@1:20,10,60,41", *PROMPTS[2:], *EVERYTHING)
    assert track(monkeypatch, clip, *other, "--model", model, "-o", whole, "--resume") == 7
    assert "was made with prompts[0].box=" in capsys.readouterr().err


def test_wrong_calls_end_with_their_codes(whole, model, clip, monkeypatch, tmp_path, capsys):
    common = ("--model", model, "-o", tmp_path / "out")
    assert track(monkeypatch, clip, *common) == 2  # no prompt
    assert track(monkeypatch, clip, "--box", "900@1:20,10,60,40", *common) == 2
    assert "frame 900 is not in the video (0..21)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()  # nothing is written before everything is accepted
    assert track(monkeypatch, tmp_path / "absent.mp4", *PROMPTS, *common) == 3
    for wrong in (("--direction", "sideways"), ("--max-frames", "0"), ("--keep", "some"), ("--fps", "nan")):
        assert track(monkeypatch, clip, *PROMPTS, *common, *wrong) == 2, wrong
    assert track(monkeypatch, clip, *PROMPTS, "--model", model, "-o", whole) == 7
    assert track(monkeypatch, clip, *PROMPTS, *common, "--overwrite", "--save", "film") == 2
    assert track(monkeypatch, clip, *PROMPTS, "--model", model, "-o", tmp_path / "new", "--resume") == 7


def test_both_directions_and_spans_reach_their_frames(model, clip, tmp_path, monkeypatch, capsys):
    arguments = ("--point", "4@1:50,20", "--direction", "both", "--max-frames", "3", "--json", "--save", "json")
    assert track(monkeypatch, clip, *arguments, "--model", model, "-o", tmp_path / "out") == 0
    assert json.loads(capsys.readouterr().out) == {"output": str(tmp_path / "out"), "frames": 5, "status": "done"}
    assert [result.frame for result in records(tmp_path / "out")] == [4, 5, 6, 3, 2]
    again = ("--model", model, "-o", tmp_path / "out", "--resume")
    assert track(monkeypatch, clip, *arguments, *again) == 0
    assert "was done before" in capsys.readouterr().err
    stop_after(monkeypatch, 2, clip, *arguments, "--model", model, "-o", tmp_path / "cut")
    capsys.readouterr()
    assert track(monkeypatch, clip, *arguments, "--model", model, "-o", tmp_path / "cut", "--resume") == 0
    assert "tracking from the start" in capsys.readouterr().err
    for name in ("out", "cut"):
        assert [result.frame for result in records(tmp_path / name)] == [4, 5, 6, 3, 2]


EVERY_KIND = "overlay,masks,matte,alpha,gif,json,csv,davis,sav,mots,mot,ytvis,coco"


def test_every_kind_of_file_is_written(model, clip, tmp_path, monkeypatch):
    arguments = ("--box", "20,10,60,40", "--max-frames", "3", "--save", EVERY_KIND, "--model", model)
    assert track(monkeypatch, clip, *arguments, "-o", tmp_path / "out") == 0
    found = {path.name for path in (tmp_path / "out").iterdir()}
    films = {"overlay.mp4", "matte.mkv", "alpha.webm", "overlay.gif"}
    texts = {"results.jsonl", "areas.csv", "mots.txt", "mot.txt", "ytvis.json", "coco.json", "run.json", "prompts.json"}
    assert found == films | texts | {"masks", "davis", "sav"}
    for name in films:
        with av.open(str(tmp_path / "out" / name)) as container:
            assert len(list(container.decode(video=0))) == 3


def test_prompts_of_a_run_make_the_same_run_again(whole, model, clip, tmp_path, monkeypatch, capsys):
    again = ("--prompts", whole / "prompts.json", "--save", "json", "--model", model, "-o", tmp_path / "again")
    assert track(monkeypatch, clip, *again) == 0
    assert same_file(tmp_path / "again" / "results.jsonl", whole / "results.jsonl")
    source = json.loads((whole / "prompts.json").read_text())["source"]
    assert (source["name"], source["width"], source["height"], source["frames"]) == ("clip.mp4", WIDTH, HEIGHT, 22)
    both = ("--prompts", whole / "prompts.json", "--box", "20,10,60,40", "--model", model, "-o", tmp_path / "both")
    assert track(monkeypatch, clip, *both) == 2
    assert "leave out --point, --box" in capsys.readouterr().err


def test_pictures_of_object_numbers_are_first_masks(model, clip, tmp_path, monkeypatch):
    numbers = np.zeros((HEIGHT, WIDTH), np.uint8)
    numbers[10:30, 20:50], numbers[30:50, 60:90] = 3, 7
    (tmp_path / "masks").mkdir()
    Image.fromarray(numbers).save(tmp_path / "masks" / "00002.png")
    common = ("--max-frames", "2", "--save", "json", "--model", model)
    assert track(monkeypatch, clip, "--init-masks", tmp_path / "masks", *common, "-o", tmp_path / "a") == 0
    first = records(tmp_path / "a")[0]
    assert (first.frame, first.object_ids) == (2, (3, 7))
    file = f"5@{tmp_path / 'masks' / '00002.png'}"
    assert track(monkeypatch, clip, "--init-masks", file, *common, "-o", tmp_path / "b") == 0
    assert records(tmp_path / "b")[0].frame == 5
    assert "mask" in (tmp_path / "b" / "prompts.json").read_text()


def test_part_of_a_video_is_looked_at_and_gone_on_with(model, clip, tmp_path, monkeypatch):
    part = (clip, "--box", "4@1:20,10,60,40", "--stride", "2", "--end", "17", "--save", "json", "--model", model)
    assert track(monkeypatch, *part, "-o", tmp_path / "whole") == 0
    assert [result.frame for result in records(tmp_path / "whole")] == [4, 6, 8, 10, 12, 14, 16]
    stop_after(monkeypatch, 3, *part, "-o", tmp_path / "out")
    assert track(monkeypatch, *part, "-o", tmp_path / "out", "--resume") == 0
    assert same_file(tmp_path / "out" / "results.jsonl", tmp_path / "whole" / "results.jsonl")
    assert track(monkeypatch, clip, "--box", "3@1:20,10,60,40", "--stride", "2", "--model", model) == 2


def stop_after(monkeypatch, frames: int, *arguments) -> None:
    """Interrupts a run after so many frames."""
    seen = []
    original = TrackJob._write

    def write(self, sinks, result):
        original(self, sinks, result)
        seen.append(result.frame)
        if len(seen) == frames:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(TrackJob, "_write", write)
        assert track(monkeypatch, *arguments) == 130


def test_everything_is_found_followed_and_gone_on_with(clip, tmp_path, monkeypatch, capsys):
    options = ("--everything", "--detect-every", "5", "--points-per-side", "4", "--min-iou", "0.3", "--save", "json")
    options = (*options, "--min-stability", "0.3")
    everything = (clip, *options, "--max-objects", "4", "--max-frames", "9", "--model", "embedded", "--offline")
    assert track(monkeypatch, *everything, "-o", tmp_path / "whole") == 0
    found = records(tmp_path / "whole")
    assert [result.frame for result in found] == list(range(9))
    assert 0 < max(len(result) for result in found) <= 4
    stop_after(monkeypatch, 4, *everything, "-o", tmp_path / "out")
    assert track(monkeypatch, *everything, "-o", tmp_path / "out", "--resume") == 0
    assert same_file(tmp_path / "out" / "results.jsonl", tmp_path / "whole" / "results.jsonl")
    for wrong in (("--everything", "--box", "1,2,30,40"), ("--box", "1,2,30,40", "--detect-every", "5")):
        assert track(monkeypatch, clip, *wrong, "--model", "embedded") == 2
    assert "goes with --everything" in capsys.readouterr().err


def test_everything_that_keeps_nothing_says_why_with_the_options_to_change(clip, tmp_path, monkeypatch, capsys):
    options = ("--everything", "--points-per-side", "2", "--min-iou", "1", "--max-frames", "2", "--save", "json")
    assert track(monkeypatch, clip, *options, "--model", "embedded", "--offline", "-o", tmp_path / "out") == 0
    assert "at the last look of 12 candidates 12 fell to --min-iou 1 (" in capsys.readouterr().err


def test_several_videos_are_one_run_each_and_one_may_fail(model, clip, tmp_path, monkeypatch, capsys):
    (tmp_path / "short").mkdir()
    for index in range(2):
        Image.fromarray(golden_scene(HEIGHT, WIDTH, index)).save(tmp_path / "short" / f"{index}.png")
    (tmp_path / "empty").mkdir()
    arguments = ("--box", "20,10,60,40", "--max-frames", "3", "--save", "json", "--json", "--model", model)
    sources = (clip, tmp_path / "short", tmp_path / "empty")
    assert track(monkeypatch, *sources, *arguments, "-o", tmp_path / "out") == 4
    summary = json.loads(capsys.readouterr().out)
    assert (summary["frames"], list(summary["failed"])) == (5, [str(tmp_path / "empty")])
    assert [len(records(tmp_path / "out" / name)) for name in ("clip", "short")] == [3, 2]


def test_several_videos_that_were_interrupted_go_on_where_they_stood(model, clip, tmp_path, monkeypatch, capsys):
    sources = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        for index in range(3):
            Image.fromarray(golden_scene(HEIGHT, WIDTH, index)).save(tmp_path / name / f"{index}.png")
        sources.append(tmp_path / name)
    arguments = (*sources, "--box", "20,10,60,40", "--save", "json", "--model", model, "-o", tmp_path / "out")
    stop_after(monkeypatch, 5, *arguments)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "b"]
    assert track(monkeypatch, *arguments, "--resume") == 0
    assert [len(records(tmp_path / "out" / name)) for name in "abc"] == [3, 3, 3]
    assert "a: was done before" in capsys.readouterr().err


def test_files_of_the_user_are_not_touched(model, clip, tmp_path, monkeypatch, capsys):
    (tmp_path / "masks" / "sub").mkdir(parents=True)
    kept = [tmp_path / "masks" / "00000.png", tmp_path / "masks" / "sub" / "5.png", tmp_path / "coco.json"]
    for path in kept:
        path.write_text("mine")
    arguments = (clip, "--box", "20,10,60,40", "--max-frames", "2", "--model", model, "-o", tmp_path)
    assert track(monkeypatch, *arguments, "--save", "json,coco") == 7
    assert "coco.json: exists already" in capsys.readouterr().err
    assert track(monkeypatch, *arguments, "--save", "json") == 0
    assert track(monkeypatch, *arguments, "--save", "json,csv", "--overwrite") == 0
    assert [path.read_text() for path in kept] == ["mine"] * 3


def test_what_a_run_reads_is_never_overwritten(model, clip, tmp_path, monkeypatch, capsys):
    """The film, the frames or the masks of an earlier run as the source of another one in its folder."""
    out = tmp_path / "out"
    first = (clip, "--box", "20,10,60,40", "--max-frames", "3", "--save", "overlay,masks", "--model", model)
    assert track(monkeypatch, *first, "-o", out) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    box, common = ("--box", "20,10,60,40"), ("--model", model, "-o", out, "--overwrite")
    for arguments in (
        (out / "overlay.mp4", *box, "--save", "json"),
        (out / "masks", *box, "--save", "masks"),
        (clip, "--init-masks", out / "masks", "--save", "json"),
        (clip, "--init-masks", f"2@{out / 'masks' / '00000.png'}", "--save", "json"),
        (clip, "--prompts", out / "prompts.json", "--save", "json"),
    ):
        assert track(monkeypatch, *arguments, *common) == 7, arguments
        assert "is read by this run" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_source_and_annotations_of_the_user_are_never_overwritten(model, tmp_path, monkeypatch):
    """They are in the output folder under names that the run would take."""
    frames = tmp_path / "masks"
    frames.mkdir()
    for index in range(3):
        Image.fromarray(golden_scene(HEIGHT, WIDTH, index)).save(frames / f"{index:05d}.png")
    arguments = (frames, "--box", "20,10,60,40", "--save", "masks", "--model", model)
    before = {path: path.read_bytes() for path in frames.iterdir()}
    for more in ((), ("--overwrite",)):
        assert track(monkeypatch, *arguments, "-o", tmp_path, *more) == 7
    assert track(monkeypatch, frames, "--box", "20,10,60,40", "--save", "gif", "--model", model, "-o", frames) == 7
    assert {path: path.read_bytes() for path in frames.iterdir()} == before


def test_another_video_under_the_same_name_is_not_gone_on_with(model, tmp_path, monkeypatch, capsys):
    def put(step: int) -> None:
        for index in range(6):
            pixels = golden_scene(HEIGHT, WIDTH, index)[:, ::step]
            Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "frames" / f"{index}.png")

    (tmp_path / "frames").mkdir()
    put(1)
    arguments = (tmp_path / "frames", "--box", "20,10,60,40", "--save", "json", "--model", model, "-o", tmp_path / "o")
    stop_after(monkeypatch, 3, *arguments)
    put(-1)
    assert track(monkeypatch, *arguments, "--resume") == 3
    assert "saved with another video" in capsys.readouterr().err
    put(1)
    assert track(monkeypatch, *arguments, "--resume") == 0
    assert len(records(tmp_path / "o")) == 6


def test_frames_that_were_left_out_are_known_to_a_run_that_is_killed(model, tmp_path, monkeypatch):
    (tmp_path / "frames").mkdir()
    for index in range(6):
        Image.fromarray(golden_scene(HEIGHT, WIDTH, index)).save(tmp_path / "frames" / f"{index}.png")
    (tmp_path / "frames" / "2.png").write_bytes(b"no picture")
    arguments = (tmp_path / "frames", "--box", "20,10,60,40", "--save", "json", "--skip-bad-frames", "--model", model)
    arguments = (*arguments, "--checkpoint-every", "1", "-o", tmp_path / "out")
    seen, original = [], TrackJob._write

    def killed(self, sinks, result):
        original(self, sinks, result)
        if result.frame == 4:
            seen.append((tmp_path / "out" / "run.json").read_bytes())
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(TrackJob, "_write", killed)
        assert track(monkeypatch, *arguments) == 130
    (tmp_path / "out" / "run.json").write_bytes(seen[0])  # as a kill would have left it
    assert track(monkeypatch, *arguments, "--resume") == 4
    assert list(json.loads((tmp_path / "out" / "run.json").read_text())["skipped"]) == ["2"]
    assert [result.frame for result in records(tmp_path / "out")] == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("kind", ["overlay", "json", "davis", "coco"])
def test_full_disk_is_named_and_leaves_nothing_half_done(model, clip, tmp_path, monkeypatch, capsys, kind):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    arguments = (clip, "--box", "20,10,60,40", "--save", kind, "--model", model, "-o", tmp_path / "out")
    original = TrackJob._write

    def fuller(self, sinks, result):
        if result.frame == 4:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        original(self, sinks, result)

    with monkeypatch.context() as patched:
        patched.setattr(TrackJob, "_write", fuller)
        try:
            assert track(monkeypatch, *arguments) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(tmp_path / "out") in capsys.readouterr().err
    left = [path.name for path in (tmp_path / "out").rglob("*") if ".part" in path.name or path.name == "overlay.mp4"]
    assert left == []
    assert track(monkeypatch, *arguments, "--overwrite") == 0
    assert len(records(tmp_path / "out")) == NUM_FRAMES


def test_file_that_has_no_room_for_more_objects_ends_and_the_others_go_on(model, tmp_path, monkeypatch, capsys):
    """Also when the run is gone on with."""
    (tmp_path / "frames").mkdir()
    for index in range(6):
        Image.fromarray(golden_scene(HEIGHT, WIDTH, index)).save(tmp_path / "frames" / f"{index}.png")
    monkeypatch.setattr("sam2_hf.pipelines.writing.mask_files.DAVIS_NUMBERS", 1)
    boxes = ("--box", "0@1:20,10,60,40", "--box", "3@2:60,10,90,40")
    arguments = (tmp_path / "frames", *boxes, "--save", "davis,csv", "--model", model, "-o", tmp_path / "out")
    stop_after(monkeypatch, 5, *arguments)
    assert track(monkeypatch, *arguments, "--resume") == 4
    assert "davis: ends before frame 3: a palette has 1 object numbers" in capsys.readouterr().err
    assert len(records(tmp_path / "out")) == 6
    assert [path.name for path in sorted((tmp_path / "out" / "davis").iterdir())] == [f"0000{n}.png" for n in range(3)]
    with (tmp_path / "out" / "areas.csv").open() as file:
        assert {row["object_id"] for row in csv.DictReader(file)} == {"1", "2"}
    assert list(json.loads((tmp_path / "out" / "run.json").read_text())["unfinished"]) == ["davis"]


@pytest.mark.parametrize("kind", ["prompted", "everything"])
def test_progress_knows_how_many_frames_there_are(model, clip, tmp_path, monkeypatch, kind):
    asked = ("--box", "4@1:20,10,60,40") if kind == "prompted" else ("--everything", "--points-per-side", "2")
    arguments = (clip, *asked, "--start", "4", "--stride", "2", "--save", "json", "--model", model)
    for more, total in (((), 9), (("--max-frames", "5"), 5), (("--end", "10"), 3)):
        seen, original = [], TrackJob._shown

        def shown(self, results, total, done, seen=seen, original=original):
            seen.append((total, done))
            return original(self, results, total, done)

        out = tmp_path / f"out{total}"
        with monkeypatch.context() as patched, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a network of random weights finds nothing
            patched.setattr(TrackJob, "_shown", shown)
            assert track(monkeypatch, *arguments, *more, "-o", out) == 0
        assert seen == [(total, 0)]
        assert len(records(out)) == total


def test_overwriting_waits_until_everything_is_accepted(model, clip, tmp_path, monkeypatch):
    arguments = (clip, "--box", "20,10,60,40", "--max-frames", "2", "--save", "json,davis", "--model", model)
    assert track(monkeypatch, *arguments, "-o", tmp_path) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert track(monkeypatch, *arguments, "--start", "900", "--overwrite", "-o", tmp_path) == 2
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_finished_run_without_one_of_its_files_is_made_again(model, clip, tmp_path, monkeypatch):
    arguments = (clip, "--box", "20,10,60,40", "--max-frames", "2", "--save", "json,csv", "--model", model)
    assert track(monkeypatch, *arguments, "-o", tmp_path / "out") == 0
    (tmp_path / "out" / "areas.csv").unlink()
    assert track(monkeypatch, *arguments, "-o", tmp_path / "out", "--resume") == 0
    assert (tmp_path / "out" / "areas.csv").exists()


def test_dry_run_lists_and_writes_nothing(clip, tmp_path, monkeypatch, capsys):
    arguments = ("--box", "1:20,10,60,40", "--box", "9@1:20,10,60,40", "--save", "json,csv", "--dry-run", "--json")
    assert track(monkeypatch, clip, *arguments, "-o", tmp_path / "out", "--model", "absent") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["objects"], plan["prompts"]) == (1, 2)
    assert plan["videos"][clip] == [str(tmp_path / "out" / name) for name in ("results.jsonl", "areas.csv")]
    assert not (tmp_path / "out").exists()


def test_frames_that_cannot_be_decoded_end_the_run_or_are_left_out(model, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(6):
        Image.fromarray(golden_scene(HEIGHT, WIDTH, index)).save(folder / f"{index}.png")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:200])
    arguments = (folder, "--box", "20,10,60,40", "--save", "json", "--model", model)
    assert track(monkeypatch, *arguments, "-o", tmp_path / "strict") == 3
    assert [result.frame for result in records(tmp_path / "strict")] == [0, 1, 2]
    assert track(monkeypatch, *arguments, "--skip-bad-frames", "-o", tmp_path / "lenient") == 4
    assert [result.frame for result in records(tmp_path / "lenient")] == [0, 1, 2, 4, 5]
    assert list(json.loads((tmp_path / "lenient" / "run.json").read_text())["skipped"]) == ["3"]
    stop_after(monkeypatch, 4, *arguments, "--skip-bad-frames", "-o", tmp_path / "cut")
    assert track(monkeypatch, *arguments, "--skip-bad-frames", "-o", tmp_path / "cut", "--resume") == 4
    assert list(json.loads((tmp_path / "cut" / "run.json").read_text())["skipped"]) == ["3"]
    assert "frame" in json.loads((tmp_path / "strict" / "run.json").read_text())["error"]
    few = (*arguments, "--skip-bad-frames", "--max-frames", "5")
    assert track(monkeypatch, *few, "-o", tmp_path / "few") == 4
    stop_after(monkeypatch, 4, *few, "-o", tmp_path / "few-cut")
    assert track(monkeypatch, *few, "-o", tmp_path / "few-cut", "--resume") == 4
    for name in ("few", "few-cut"):  # the frame that was left out counts
        assert [result.frame for result in records(tmp_path / name)] == [0, 1, 2, 4]


def test_frames_that_were_left_out_are_shown_as_missing(model, tmp_path, monkeypatch):
    """Numbers and times of those behind them stay; nowhere is there an empty mask that says that nothing is there."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(7):
        Image.fromarray(golden_scene(HEIGHT, WIDTH, index)).save(folder / f"{index}.png")
    for index in (3, 6):
        (folder / f"{index}.png").write_bytes(b"no picture")
    kinds = "overlay,matte,json,davis,sav,coco,ytvis,csv,mot"
    arguments = (folder, "--box", "20,10,60,40", "--save", kinds, "--skip-bad-frames", "--model", model)
    assert track(monkeypatch, *arguments, "-o", tmp_path / "whole") == 4
    stop_after(monkeypatch, 5, *arguments, "-o", tmp_path / "cut")
    assert track(monkeypatch, *arguments, "-o", tmp_path / "cut", "--resume") == 4
    for out in (tmp_path / "whole", tmp_path / "cut"):
        lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
        assert [(line["frame"], line["status"] == "unreadable") for line in lines] == [
            (index, index in (3, 6)) for index in range(7)
        ]
        assert "3.png" in lines[3]["error"] and lines[3]["objects"] == []
        with pytest.raises(ValueError, match="could not be read"):
            VideoFrameResult.from_dict(lines[3])
        assert [result.frame for result in records(out)] == [0, 1, 2, 4, 5]
        for name in ("overlay.mp4", "matte.mkv"):
            with av.open(str(out / name)) as container:
                film = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            assert len(film) == 7
            for index in (3, 6):  # grey, with a lighter cross
                spread = np.ptp(film[index].astype(int), axis=2)
                assert spread.max() < 20 and (film[index].max() == 0) == (name == "matte.mkv")
        names = [f"{index:05d}.png" for index in (0, 1, 2, 4, 5)]
        assert sorted(path.name for path in (out / "davis").glob("*.png")) == names
        assert sorted(path.name for path in (out / "sav" / "001").glob("*.png")) == names
        assert [image["id"] for image in json.loads((out / "coco.json").read_text())["images"]] == [0, 1, 2, 4, 5]
        tube = json.loads((out / "ytvis.json").read_text())
        assert (tube["videos"][0]["length"], tube["videos"][0]["skipped"]) == (7, [3, 6])
        for entry in tube["annotations"]:
            assert len(entry["segmentations"]) == 7 and entry["segmentations"][3] is None


def test_film_whose_first_frame_is_missing_shows_it_so(model, tmp_path, monkeypatch):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "3", "bf": "0", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(7):
            frame = av.VideoFrame.from_ndarray(golden_scene(HEIGHT, WIDTH, index), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        first = bytes(next(container.demux(video=0)))
    data = path.read_bytes()
    assert first in data
    path.write_bytes(data.replace(first, first[: len(first) // 2].ljust(len(first), b"\0")))
    asked = ("--box", "4@1:20,10,60,40", "--start", "0", "--skip-bad-frames", "--save", "overlay,json")
    assert track(monkeypatch, path, *asked, "--model", model, "-o", tmp_path / "out") == 4
    skipped = list(json.loads((tmp_path / "out" / "run.json").read_text())["skipped"])
    assert skipped == ["0", "1", "2"]  # the second and third are drawn from the first
    assert [result.frame for result in records(tmp_path / "out")] == [3, 4, 5, 6]
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 7
