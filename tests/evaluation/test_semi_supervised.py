"""Semi-supervised segmentation: prompts, masks on disk, scores, in both layouts."""

from dataclasses import replace

import numpy as np
import pytest

from sam2_hf import Sam2InferenceSession, TrackingPolicy
from sam2_hf.datasets.clips import ArrayClip
from sam2_hf.datasets.mask_folders import ObjectMasks, PaletteMasks, truth_folders
from sam2_hf.datasets.registry import open_dataset
from sam2_hf.errors import SourceError
from sam2_hf.evaluation.folder_scores import ScoringRules, score_folders
from sam2_hf.evaluation.semi_supervised import SemiSupervised, official_policy
from sam2_hf.processing.id_pictures import davis_palette
from sam2_hf.processing.pixels import open_picture
from tests.evaluation.toy import davis_data_set, moving_ids, sav_data_set
from tests.tiny import micro_model, micro_processor

SIDE, FRAMES = 64, 6


@pytest.fixture(scope="module")
def model():
    return micro_model(image_size=SIDE)


@pytest.fixture(scope="module")
def davis(tmp_path_factory):
    return davis_data_set(tmp_path_factory.mktemp("davis"), {"walk": moving_ids(FRAMES)})


@pytest.fixture(scope="module")
def sav(tmp_path_factory):
    return sav_data_set(tmp_path_factory.mktemp("sav"), {"walk": moving_ids(FRAMES)})


def protocol(model, folder, **more) -> SemiSupervised:
    return SemiSupervised(model=model, processor=micro_processor(SIDE), folder=folder, **more)


def test_masks_are_those_of_one_session_with_all_prompts(model, davis, tmp_path):
    clip = open_dataset("davis", davis)[0]
    protocol(model, tmp_path).measure(clip)
    written = PaletteMasks(tmp_path / "masks" / "walk")
    assert written.frames == [f"{index:05d}" for index in range(FRAMES)]
    session = Sam2InferenceSession(
        model, micro_processor(SIDE), [clip.frame(index) for index in range(FRAMES)],
        policy=TrackingPolicy(non_overlap=True, keep="window"),
    )  # fmt: skip
    for frame, object_id in ((0, 1), (0, 2), (2, 5)):
        session.add_prompt(frame_index=frame, object_id=object_id, mask=clip.masks(frame)[object_id])
    for frame in session.propagate():
        for object_id, mask in zip(frame.object_ids, frame.masks.numpy(), strict=True):
            assert np.array_equal(written.mask(written.frames[frame.frame_index], object_id), mask)
        assert written.object_ids(written.frames[frame.frame_index]) <= set(frame.object_ids)
    with_palette = open_picture(tmp_path / "masks" / "walk" / "00000.png")
    assert with_palette.getpalette() == davis_palette()


def test_scores_are_those_of_the_written_folder(model, davis, tmp_path):
    record = protocol(model, tmp_path, baseline=True).measure(open_dataset("davis", davis)[0])
    again = score_folders(truth_folders(davis), truth_folders(tmp_path / "masks"))
    assert again["videos"][0]["objects"] == record["objects"]
    assert record["tracked_frames"] == FRAMES
    results = protocol(model, tmp_path).results([record], [])
    assert results["global"]["JF"] == again["global"]["JF"]
    assert results["baselines"]["first_mask_repeated"]["objects"] == 3


def test_one_file_per_object_lets_masks_overlap(model, sav, tmp_path):
    clip = open_dataset("sav", sav)[0]
    record = protocol(model, tmp_path).measure(clip)
    written = ObjectMasks(tmp_path / "masks" / "walk")
    assert list(written.objects) == [1, 2, 5]
    assert all(len(written.frames_of(key)) == FRAMES for key in written.objects)
    assert not written.mask("00001", 5).any()  # before it appears
    assert [one["id"] for one in record["objects"]] == [1, 2, 5]


@pytest.mark.parametrize("prompt", ["mask", "box", "1-click", "3-click", "5-click"])
def test_every_prompt_gives_a_record(model, davis, tmp_path, prompt):
    record = protocol(model, tmp_path, prompt=prompt).measure(open_dataset("davis", davis)[0])
    assert [one["id"] for one in record["objects"]] == [1, 2, 5]


def test_clicks_are_the_centre_clicks(model, davis, tmp_path, monkeypatch):
    given = []
    original = Sam2InferenceSession.add_prompt

    def noted(self, **prompt):
        given.append((prompt["object_id"], prompt["frame_index"], len(prompt["points"]), prompt["clear_old_points"]))
        return original(self, **prompt)

    monkeypatch.setattr(Sam2InferenceSession, "add_prompt", noted)
    protocol(model, tmp_path, prompt="3-click").measure(open_dataset("davis", davis)[0])
    rounds = [(1, True), (1, False), (1, False)]
    assert given == [(key, frame, *one) for key, frame in ((1, 0), (2, 0), (5, 2)) for one in rounds]


def test_all_masks_are_prompts_if_asked_for(model, davis, tmp_path):
    record = protocol(model, tmp_path, all_masks=True).measure(open_dataset("davis", davis)[0])
    plain = protocol(model, tmp_path / "plain").measure(open_dataset("davis", davis)[0])
    assert all(one["J"] > 80 for one in record["objects"])  # what was given comes back through the model's grid
    assert record["objects"][0]["J"] > plain["objects"][0]["J"]


def test_later_object_is_an_error_where_it_is_not_allowed(model, davis, tmp_path):
    with pytest.raises(SourceError, match=r"walk: objects \[5\] are not on the first frame"):
        protocol(model, tmp_path, later_objects=False).measure(open_dataset("davis", davis)[0])


def test_clip_without_a_folder_of_masks_is_an_error(model, tmp_path):
    clip = ArrayClip("memory", [np.zeros((36, 54, 3), np.uint8)] * 2, [{1: np.ones((36, 54), bool)}] * 2)
    with pytest.raises(SourceError, match="memory: has no folder of masks"):
        protocol(model, tmp_path).measure(clip)


def test_void_alone_is_no_object(model, tmp_path):
    root = davis_data_set(tmp_path / "data", {"a": [np.full((36, 54), 255, np.uint8)] * 3})
    with pytest.raises(SourceError, match="value 255"):
        protocol(model, tmp_path).measure(open_dataset("davis", root)[0])


def test_rest_of_a_stopped_video_is_replaced(model, davis, tmp_path):
    rest = tmp_path / "masks" / "walk" / "99999.png"
    rest.parent.mkdir(parents=True)
    rest.touch()
    protocol(model, tmp_path).measure(open_dataset("davis", davis)[0])
    assert not rest.exists()


@pytest.mark.parametrize("kind", ["davis", "sav"])
def test_scores_per_frame_give_a_calibration(model, davis, sav, tmp_path, kind):
    clip = open_dataset(kind, davis if kind == "davis" else sav)[0]
    measured = protocol(model, tmp_path, scores_per_frame=True, rules=ScoringRules(curves=True))
    calibration = measured.results([measured.measure(clip)], [])["calibration"]
    assert sum(one["frames"] for one in calibration["bins"]) == 4 + 2 + 2  # visible, evaluated, not given
    assert calibration["visibility"]["frames"] == 4 + 4 + 2


def test_official_policy_has_no_post_processing():
    policy = official_policy()
    assert (policy.fill_hole_area, policy.dynamic_multimask, policy.binarize_prompted_masks) == (0, False, False)
    assert replace(
        policy, fill_hole_area=8, dynamic_multimask=True, binarize_prompted_masks=True
    ) == TrackingPolicy.upstream()  # fmt: skip


def test_official_policy_runs(model, davis, tmp_path):
    record = protocol(model, tmp_path, policy=official_policy()).measure(open_dataset("davis", davis)[0])
    assert not PaletteMasks(tmp_path / "masks" / "walk").object_ids("00001") - {1, 2}  # 5 is not there yet
    assert len(record["objects"]) == 3


def test_shown_is_the_worst_frame_on_disk(model, davis, tmp_path):
    clip, measured = open_dataset("davis", davis)[0], protocol(model, tmp_path)
    entry = measured.measure(clip)["objects"][0]
    frame, truth, predicted = measured.shown(clip, entry)
    assert frame == entry["worst_frame"]
    assert 100 * (truth & predicted).sum() / (truth | predicted).sum() == pytest.approx(entry["worst_J"])
