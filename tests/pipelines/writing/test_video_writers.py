"""Streams into files: one call per form, several sinks at once, nothing overwritten, valid files after an error."""

import json

import av
import numpy as np
import pytest
from PIL import Image

from sam2_hf.errors import OutputExistsError
from sam2_hf.pipelines.writing import video_writers as writers
from tests.pipelines.made_results import clip

SAVERS = {
    "a.mp4": writers.save_video,
    "davis": writers.save_davis,
    "sav": writers.save_sav,
    "mots.txt": writers.save_mots,
    "mot.txt": writers.save_mot,
    "ytvis.json": writers.save_ytvis,
    "coco.json": writers.save_coco_video,
}


def num_frames(path) -> int:
    with av.open(str(path)) as container:
        return len(list(container.decode(video=0)))


def failing(after: int):
    for result in clip():
        if result.frame == after:
            raise RuntimeError("the pass fails")
        yield result


@pytest.mark.parametrize("name", SAVERS)
def test_saver_returns_its_path_and_never_overwrites(name, tmp_path):
    save, path = SAVERS[name], tmp_path / "deep" / name
    assert save(clip(), path) == path and path.exists()
    first = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    with pytest.raises(OutputExistsError, match="exists already"):
        save(clip(2), path)
    assert first == {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    save(clip(2), str(path), overwrite=True)
    assert first != {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    assert len(list(path.rglob("*.png"))) == {"davis": 2, "sav": 4}.get(name, 0)  # none of the first run


@pytest.mark.parametrize("name", SAVERS)
def test_saver_leaves_a_valid_file_with_what_was_done_when_the_pass_fails(name, tmp_path):
    path = tmp_path / name
    with pytest.raises(RuntimeError, match="the pass fails"):
        SAVERS[name](failing(after=4), path)
    assert path.exists() and not [file for file in tmp_path.rglob("*") if ".part" in file.name]
    if path.suffix == ".mp4":
        assert num_frames(path) == 4
    elif path.suffix == ".json":
        assert json.loads(path.read_text())["annotations"]
    elif path.is_dir():
        assert (path / "00003.png").exists() or (path / "001" / "00003.png").exists()


@pytest.mark.parametrize("name", SAVERS)
def test_saver_without_results_says_so_and_writes_nothing(name, tmp_path):
    with pytest.raises(ValueError, match="no result to write; a pass gives its results once"):
        SAVERS[name](iter(()), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "name"), [("matte", "a.mkv"), ("alpha", "a.webm"), ("gif", "a.gif"), ("overlay", "a.mov")]
)
def test_every_kind_of_video_is_written(kind, name, tmp_path):
    path = writers.save_video(clip(), tmp_path / name, kind=kind)
    assert num_frames(path) == 6
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(10)  # from the times of the results


def test_rate_is_the_given_one_or_25_without_times(tmp_path):
    def rate(path) -> float:
        with av.open(str(path)) as container:
            return float(container.streams.video[0].average_rate)

    assert rate(writers.save_video(clip(), tmp_path / "a.mp4", fps=30)) == 30
    timeless = (frame for frame in clip() if not object.__setattr__(frame, "time", float("nan")))
    assert rate(writers.save_video(timeless, tmp_path / "b.mp4")) == 25
    assert num_frames(writers.save_video(clip(1), tmp_path / "c.mp4")) == 1


def test_unknown_kind_and_wrong_suffix_are_refused(tmp_path):
    with pytest.raises(ValueError, match="one of overlay, matte, alpha, gif, got 'mask'"):
        writers.save_video(clip(), tmp_path / "a.mp4", kind="mask")
    with pytest.raises(ValueError, match=r"use one of \.webm, \.mov"):
        writers.save_video(clip(), tmp_path / "a.mp4", kind="alpha")
    assert not list(tmp_path.iterdir())


def test_tee_passes_results_on_one_at_a_time_and_closes_its_sinks(tmp_path):
    taken = []

    def watched():
        for result in clip():
            taken.append(result.frame)
            yield result

    sinks = [
        writers.OverlayVideo(tmp_path / "a.mp4", 10),
        writers.DavisPngs(tmp_path / "d"),
        writers.MotTxt(tmp_path / "m.txt"),
    ]
    passed = writers.tee(watched(), sinks)
    assert taken == []
    assert next(passed).frame == 0 and taken == [0]
    assert (tmp_path / "d" / "00000.png").exists() and not (tmp_path / "m.txt").exists()
    assert [result.frame for result in passed] == [1, 2, 3, 4, 5]
    assert num_frames(tmp_path / "a.mp4") == 6 and (tmp_path / "m.txt").exists()


def test_tee_closes_its_sinks_when_it_is_abandoned_or_one_of_them_fails(tmp_path):
    class Full:
        def write(self, result):
            if result.frame == 2:
                raise OSError("the disk is full")

        def close(self):
            raise OSError("still full")

    passed = writers.tee(clip(), [writers.MotTxt(tmp_path / "a.txt")])
    next(passed)
    passed.close()
    assert len((tmp_path / "a.txt").read_text().splitlines()) == 1
    with pytest.raises(OSError, match="still full"):
        writers.write_all(clip(), [writers.OverlayVideo(tmp_path / "a.mp4", 10), Full()])
    assert num_frames(tmp_path / "a.mp4") == 3


def test_savers_can_be_chained_and_all_hold_the_same_masks(tmp_path):
    lines, davis = writers.Jsonl(tmp_path / "a.jsonl"), writers.IndexPngs(tmp_path / "masks")
    writers.save_video(writers.tee(clip(), [lines, davis]), tmp_path / "matte.mkv", kind="matte")
    with av.open(str(tmp_path / "matte.mkv")) as container:
        for frame, decoded in enumerate(container.decode(video=0)):
            with Image.open(tmp_path / "masks" / f"{frame:05d}.png") as image:
                assert np.array_equal(np.asarray(image) > 0, decoded.to_ndarray(format="gray") > 0)
