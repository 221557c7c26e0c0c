"""The protocols of pictures on a small data set, with the micro model."""

import sys

import numpy as np
import pytest

from sam2_hf.datasets.registry import open_dataset
from sam2_hf.errors import MissingExtraError
from sam2_hf.evaluation.pictures import PictureProtocol
from tests.evaluation.toy import davis_data_set, moving_ids, picture_data_set
from tests.tiny import micro_model, micro_processor

SIDE = 64


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return open_dataset("masks", picture_data_set(tmp_path_factory.mktemp("pictures"), {"cells": 2, "cars": 1}))


@pytest.fixture(scope="module")
def protocol():
    return PictureProtocol(
        model=micro_model(image_size=SIDE), processor=micro_processor(SIDE), kind="clicks", max_clicks=3
    )


@pytest.fixture(scope="module")
def records(clips, protocol):
    return [protocol.measure(clip) for clip in clips]


def test_every_object_has_a_curve(clips, records):
    for clip, record in zip(clips, records, strict=True):
        assert record["name"] == clip.name
        assert [entry["id"] for entry in record["objects"]] == [
            key for key in clip.object_ids if clip.masks(0)[key].any()
        ]
        assert all(len(entry["clicks"]) == 3 and entry["score"] == entry["clicks"][-1] for entry in record["objects"])


def test_data_sets_weigh_equally(protocol, records):
    results = protocol.results(records, [])
    assert set(results["data_sets"]) == {"cells", "cars"}
    for key, value in results["global"].items():
        if key not in ("objects", "pictures"):
            assert value == pytest.approx(np.mean([scores[key] for scores in results["data_sets"].values()]))
    assert results["global"]["pictures"] == 3
    cells = [entry for record in records if record["name"].startswith("cells/") for entry in record["objects"]]
    expected = 100 * np.mean([entry["clicks"][2] for entry in cells])
    assert results["data_sets"]["cells"]["3_click_mIoU"] == pytest.approx(expected)


def test_only_clicks_that_were_made_are_reported(protocol, records):
    scores = protocol.results(records, [])["global"]
    assert {"1_click_mIoU", "3_click_mIoU", "oracle_1_click_mIoU", "AUC@3"} < set(scores)
    assert not any(key.startswith(("5_click", "NoC")) for key in scores)


def test_twenty_clicks_give_noc_and_failures():
    protocol = PictureProtocol(model=None, processor=None, kind="clicks", max_clicks=20)
    curves = [[0.5] * 4 + [0.87] * 16, [0.95] * 20]
    objects = [{"id": n, "frame": "0", "clicks": curve, "oracle": 1.0} for n, curve in enumerate(curves)]
    scores = protocol.results([{"name": "a", "frames": 1, "objects": objects}], [])["global"]
    assert scores["NoC@85"] == 3.0
    assert scores["NoC@90"] == (20 + 1) / 2
    assert (scores["NoF@85"], scores["NoF@90"]) == (0, 1)
    assert scores["AUC@20"] == pytest.approx(100 * np.trapezoid(np.mean(curves, axis=0)) / 19)


def test_boxes_are_scored_exact_and_jittered(clips):
    protocol = PictureProtocol(model=micro_model(image_size=SIDE), processor=micro_processor(SIDE), kind="box")
    record = protocol.measure(clips[0])
    assert all(len(entry["jittered"]) == 5 for entry in record["objects"])
    results = protocol.results([record], [])
    expected = 100 * np.mean([entry["box"] for entry in record["objects"]])
    assert results["global"]["box_mIoU"] == pytest.approx(expected)
    table = protocol.table(results)
    assert table.columns == ("picture", "frame", "obj", "box", "jittered")
    assert table.rows[0][3] == pytest.approx(expected, abs=0.051)
    assert len(table.rows) == 1 + len(record["objects"])


def test_blocks_of_objects_give_the_same(clips, protocol, records, monkeypatch):
    monkeypatch.setattr("sam2_hf.evaluation.pictures.OBJECT_BATCH", 1)
    single = protocol.measure(clips[0])["objects"]
    for one, other in zip(single, records[0]["objects"], strict=True):
        assert one["id"] == other["id"]
        assert one["clicks"] == pytest.approx(other["clicks"], abs=0.02)


def test_labelled_frames_of_a_video_are_pictures(tmp_path, protocol):
    clip = open_dataset("davis", davis_data_set(tmp_path, {"walk": moving_ids(3)}))[0]
    record = protocol.measure(clip)
    assert [(entry["frame"], entry["id"]) for entry in record["objects"]] == [
        (f"{index:05d}", key) for index in range(3) for key in np.unique(moving_ids(3)[index]) if key
    ]


def test_shown_mask_is_the_one_that_was_scored(clips, protocol, records):
    entry = records[0]["objects"][0]
    frame, truth, predicted = protocol.shown(clips[0], entry)
    assert frame == clips[0].frame_name(0)
    union = (truth | predicted).sum()
    assert (truth & predicted).sum() / union == pytest.approx(entry["score"])


def test_baseline_without_its_library_names_the_extra(clips, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    protocol = PictureProtocol(
        model=micro_model(image_size=SIDE), processor=micro_processor(SIDE), kind="box", baseline=True
    )
    with pytest.raises(MissingExtraError, match="camera"):
        protocol.measure(clips[0])


def test_grabcut_finds_a_bright_disc():
    pytest.importorskip("cv2")
    from sam2_hf.evaluation.baselines import grabcut
    from sam2_hf.evaluation.metrics import region_similarity, tight_box
    from tests.evaluation.toy import disc

    truth = disc(18, 27, 9)
    image = np.where(truth[..., None], (220, 180, 40), (20, 40, 90)).astype(np.uint8)
    x0, y0, x1, y1 = tight_box(truth)
    assert region_similarity(grabcut(image, [x0 - 2, y0 - 2, x1 + 2, y1 + 2]), truth) > 0.9
    assert grabcut(image, [0, 0, 53, 35]).all()  # nothing outside the box to learn from
