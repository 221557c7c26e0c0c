"""Text files of tracks are read back and compared with the masks."""

import csv
import json
import tracemalloc

import numpy as np
import pytest
from pycocotools import mask as coco
from pycocotools.coco import COCO

from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.pipelines.writing.result_lines import Jsonl, WrittenResults
from sam2_hf.pipelines.writing.track_files import AreasCsv, CocoJson, MotsTxt, MotTxt, YtvisJson
from tests.pipelines.made_results import HEIGHT, WIDTH, clip, made, moving, shapes

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
CLASSED = {"class_ids": np.array([1, 0]), "labels": ("cat", "dog")}


def written(sink, frames):
    for result in frames:
        sink.write(result)
    sink.close()
    assert not [path for path in sink.path.parent.iterdir() if "part" in path.name]
    return sink.path


def decode(rle: dict | str) -> np.ndarray:
    rle = {"size": [HEIGHT, WIDTH], "counts": rle} if isinstance(rle, str) else rle
    return coco.decode({**rle, "counts": rle["counts"].encode()}).astype(bool)


def test_mots_lines_hold_masks_that_do_not_overlap(tmp_path):
    path = written(MotsTxt(tmp_path / "walk.txt"), clip(object_ids=(2, 7), **CLASSED))
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    assert [(int(line[0]), int(line[1]), int(line[2])) for line in lines[:3]] == [
        (0, 2002, 2),
        (1, 1007, 1),
        (1, 2002, 2),
    ]
    assert {(line[3], line[4]) for line in lines} == {(str(HEIGHT), str(WIDTH))}
    found = {(int(frame), int(name)): decode(rle) for frame, name, _, _, _, rle in lines}
    assert len(found) == len(lines) == 10  # object 7 joins on frame 1 and is hidden on frame 3
    for frame in range(1, 6):
        cat, dog = moving(frame)
        assert np.array_equal(found[frame, 2002], cat & ~dog)  # the lower id, dog's, has the pixel
        if frame != 3:
            assert np.array_equal(found[frame, 1007], dog)
    assert not (tmp_path / "walk.ids.json").exists()


def test_mots_numbers_names_and_objects_without_a_class(tmp_path):
    written(MotsTxt(tmp_path / "a.txt"), clip(object_ids=("a", "b")))
    assert json.loads((tmp_path / "a.ids.json").read_text()) == {"1001": "a", "1002": "b"}
    mixed = clip(object_ids=(1, 2), class_ids=np.array([-1, 0]), labels=(None, "dog"))
    path = written(MotsTxt(tmp_path / "b.txt"), mixed)
    assert {line.split()[1] for line in path.read_text().splitlines()} == {"2001", "1002"}


def test_mots_with_more_than_999_objects_of_a_class_is_refused(tmp_path):
    many = made(np.ones((1000, 2, 2), bool), VideoFrameResult)
    sink = MotsTxt(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="a class of a MOTS file has 999 object numbers, there are more"):
        sink.write(many)
    sink.close()


def test_mot_lines_hold_boxes_that_count_from_1(tmp_path):
    path = written(MotTxt(tmp_path / "walk.txt"), clip(object_ids=(2, 7), **CLASSED))
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert len(rows) == 10
    assert rows[0] == ["1", "2", "6", "11", "30", "20", "0.500000", "2", "1"]
    for row in rows:
        frame, number, x, y, width, height = map(int, row[:6])
        mask = moving(frame - 1)[(2, 7).index(number)]
        assert np.argwhere(mask).min(axis=0).tolist() == [y - 1, x - 1]
        assert np.argwhere(mask).max(axis=0).tolist() == [y - 2 + height, x - 2 + width]
        assert 0 <= float(row[6]) <= 1 and row[7:] == [{2: "2", 7: "1"}[number], "1"]


def test_ytvis_has_one_entry_per_frame_and_null_where_hidden(tmp_path):
    data = json.loads(written(YtvisJson(tmp_path / "a.json"), clip(object_ids=("x", 7), **CLASSED)).read_text())
    (video,) = data["videos"]
    assert video["file_names"] == [f"walk/{frame:05d}.jpg" for frame in range(6)]
    assert (video["length"], video["height"], video["width"]) == (6, HEIGHT, WIDTH)
    assert data["categories"] == [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]
    first, second = data["annotations"]
    assert (first["id"], first["attributes"], first["category_id"]) == (1, {"object_id": "x"}, 2)
    assert (second["id"], second["category_id"]) == (7, 1)
    assert [area is None for area in second["areas"]] == [True, False, False, True, False, False]
    for row, track in enumerate((first, second)):
        for frame, rle in enumerate(track["segmentations"]):
            if rle is not None:
                mask = moving(frame)[row]
                assert np.array_equal(decode(rle), mask)
                assert track["areas"][frame] == mask.sum()
                assert track["bboxes"][frame] == coco.toBbox({**rle, "counts": rle["counts"].encode()}).tolist()
    assert first["score"] == pytest.approx(np.mean(first["scores"]), abs=1e-6)


def test_coco_of_a_video_is_read_by_pycocotools(tmp_path):
    read = COCO(str(written(CocoJson(tmp_path / "a.json"), clip(object_ids=(4, 7), **CLASSED))))
    assert sorted(read.getImgIds()) == list(range(6))
    assert [entry["file_name"] for entry in read.loadImgs(range(2))] == ["walk/00000.jpg", "walk/00001.jpg"]
    annotations = read.loadAnns(read.getAnnIds())
    assert len(annotations) == 11
    for annotation in annotations:
        mask = moving(annotation["image_id"])[(4, 7).index(annotation["track_id"])]
        assert np.array_equal(read.annToMask(annotation).astype(bool), mask)
        assert (annotation["area"], annotation["category_id"]) == (mask.sum(), {4: 2, 7: 1}[annotation["track_id"]])
        assert annotation["attributes"]["visible"] == bool(mask.any())


def test_csv_has_a_row_per_frame_and_object(tmp_path):
    path = written(AreasCsv(tmp_path / "a.csv"), clip(object_ids=("left cup", 7)))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 11
    assert rows[2]["object_id"] == "7" and rows[2]["time"] == "0.100000" and rows[2]["visible"] == "True"
    for row in rows:
        mask = moving(int(row["frame"]))[("left cup", "7").index(row["object_id"])]
        assert int(row["area"]) == mask.sum()
    unknown = made(moving(1), VideoFrameResult, iou_scores=np.full(2, np.nan, np.float32))
    assert "nan" not in written(AreasCsv(tmp_path / "b.csv"), [unknown]).read_text()


@pytest.mark.parametrize("kind", [MotTxt, MotsTxt, YtvisJson, CocoJson, AreasCsv])
def test_frames_stand_in_order_and_only_the_newest_of_each(kind, tmp_path):
    frames = list(clip(4))
    corrected = made(moving(2), VideoFrameResult, frame=1, time=0.1, source="videos/walk.mp4")
    once = written(kind(tmp_path / "once.x"), [frames[0], corrected, *frames[2:]])
    again = written(kind(tmp_path / "again.x"), [*frames[:1], *frames[:0:-1], corrected])
    assert once.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("kind", [MotTxt, MotsTxt, YtvisJson, CocoJson, AreasCsv, Jsonl])
def test_nothing_written_is_a_valid_file(kind, tmp_path):
    path = written(kind(tmp_path / "a.json"), [])
    if kind in (YtvisJson, CocoJson):
        assert json.loads(path.read_text())["annotations"] == []
    elif kind is AreasCsv:
        assert path.read_text().startswith("frame,time,")
    else:
        assert path.read_text() == ""


def test_lines_are_the_results_and_a_resumed_file_goes_on(tmp_path):
    frames = list(clip(object_ids=("a", 2)))
    whole = written(Jsonl(tmp_path / "whole.jsonl"), frames)
    back = [VideoFrameResult.from_dict(json.loads(line)) for line in whole.read_text().splitlines()]
    assert [result.object_ids for result in back] == [result.object_ids for result in frames]
    assert [result.masks for result in back] == [result.masks for result in frames]
    part = written(Jsonl(tmp_path / "resumed.jsonl"), frames[:4])
    part.write_text(part.read_text() + '{"torn')
    read = WrittenResults(part)
    assert (len(read), [result.frame for result in read]) == (4, [result.frame for result in frames[:4]])
    assert [result.frame for result in read.first(2)] == [result.frame for result in frames[:2]]
    written(Jsonl(part, keep=3), frames[3:])
    assert part.read_bytes() == whole.read_bytes()


def test_memory_does_not_grow_with_the_video(tmp_path):
    def peak(count: int) -> int:
        sink = CocoJson(tmp_path / "a.json")
        frames = list(clip(6))
        tracemalloc.start()
        for frame in range(count):
            result = frames[frame % 6]
            object.__setattr__(result, "frame", frame)
            sink.write(result)
        sink.close()
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(5)
    assert peak(1500) < peak(50) + 400_000  # the places of 1500 frames; the file has 1.2 MB


def test_ids_that_a_spreadsheet_would_run_are_text(tmp_path):
    frame = made(shapes()[:3], VideoFrameResult, object_ids=("=cmd|' /C calc'!A0", "-5", 7), frame=0)
    written(AreasCsv(tmp_path / "areas.csv"), [frame])
    with (tmp_path / "areas.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    assert [row[2] for row in rows] == ["'=cmd|' /C calc'!A0", "'-5", "7"]
