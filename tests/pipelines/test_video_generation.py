"""Everything in a video: with the embedded checkpoint on discs that come and go, and a finder that knows the truth."""

from itertools import islice

import numpy as np
import pytest
import torch

from sam2_hf import EMBEDDED_CHECKPOINT, Sam2Model, Sam2Processor
from sam2_hf.pipelines.candidate_counts import NothingFoundWarning
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.video_generation import Sam2VideoMaskGenerator
from sam2_hf.pipelines.video_pass import VideoSpan
from sam2_hf.processing.rle import Masks
from sam2_hf.tracking.session import Sam2InferenceSession

HEIGHT, WIDTH = 96, 128
COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220), "green": (40, 190, 60)}


def disc(row: float, column: float, radius: float = 14) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.hypot(rows - row, columns - column) < radius


def frame(**discs: tuple[float, float]) -> np.ndarray:
    """Coloured discs on grey."""
    picture = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for name, centre in discs.items():
        picture[disc(*centre)] = COLOURS[name]
    return picture


def finder(pixels: torch.Tensor) -> ImageResult:
    """Discs by their colour."""
    picture = pixels.permute(1, 2, 0).numpy()
    found = {name: (picture == colour).all(axis=2) for name, colour in COLOURS.items()}
    found = {name: mask for name, mask in found.items() if mask.any()}
    masks = Masks.from_dense(np.array(list(found.values())).reshape(-1, HEIGHT, WIDTH), (HEIGHT, WIDTH))
    one = np.ones(len(found), np.float32)
    return ImageResult(
        size=(HEIGHT, WIDTH),
        masks=masks,
        object_ids=tuple(range(len(found))),
        boxes=masks.boxes(),
        iou_scores=one,
        stability=one,
        object_scores=one,
        labels=tuple(found),
        class_ids=np.array([list(COLOURS).index(name) for name in found], dtype=np.int64),
    )


@pytest.fixture(scope="module")
def parts():
    model = Sam2Model.from_pretrained(EMBEDDED_CHECKPOINT).eval()
    return model, Sam2Processor.from_pretrained(EMBEDDED_CHECKPOINT)


@pytest.fixture(scope="module")
def clip() -> list[np.ndarray]:
    """A red disc that walks, a blue one that stays."""
    return [frame(red=(40, 30 + 2 * i), blue=(70, 100)) for i in range(12)]


class FinderThatOverlooks:
    """Sees the red disc only in its first looks."""

    def __init__(self, looks: int):
        self.looks = looks

    def __call__(self, pixels: torch.Tensor) -> ImageResult:
        self.looks -= 1
        found = finder(pixels)
        return found[found.ids("red")] if self.looks >= 0 else found


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return (mask & truth).sum() / (mask | truth).sum()


def test_generator_finds_and_follows(parts, clip):
    generator = Sam2VideoMaskGenerator(
        *parts, detect_every=4, points_per_side=8, pred_iou_thresh=0.3, stability_score_thresh=0.7
    )
    results = list(generator(clip))
    assert [result.frame for result in results] == list(range(12))
    last = results[-1]
    for truth in (disc(40, 52), disc(70, 100)):
        assert max(iou(mask, truth) for mask in last.masks) > 0.7
    red = max(range(len(results[0])), key=lambda row: iou(results[0].masks[row], disc(40, 30)))
    followed = last.object_ids.index(results[0].object_ids[red])
    assert iou(last.masks[followed], disc(40, 52)) > 0.7  # the id that it had at first


def test_new_objects_join_at_a_look_with_the_names_of_the_finder(parts, clip):
    results = list(Sam2VideoMaskGenerator(*parts, detect_every=4, finder=FinderThatOverlooks(2))(clip))
    assert [result.object_ids for result in results] == [(1,)] * 8 + [(1, 2)] * 4
    assert results[-1].labels == ("red", "blue") and results[-1].class_ids.tolist() == [0, 1]
    assert results[8].is_prompted.tolist() == [False, True]
    assert iou(results[-1].masks[1], disc(70, 100)) > 0.8
    assert np.array_equal(results[-1].pixels(), clip[-1])


def test_objects_that_went_away_are_given_up_and_their_ids_with_them(parts):
    there = [frame(red=(40, 40))] * 4
    away = [frame()] * 16
    other = [frame(green=(60, 90))] * 4
    results = list(Sam2VideoMaskGenerator(*parts, detect_every=2, forget_after=3, finder=finder)(there + away + other))
    assert results[3].object_ids == (1,) and results[3].is_visible.all()
    gone = [result for result in results if not len(result)]
    assert gone and gone[0].frame > 4 + 3 * 2 - 2  # hidden for three looks, then given up
    assert results[-1].object_ids == (2,) and results[-1].labels == ("green",)


def test_memory_does_not_grow_with_the_video(parts):
    generator = Sam2VideoMaskGenerator(*parts, detect_every=5, finder=finder)
    run = generator.begin((frame(red=(40, 30 + i % 40)) for i in range(40)), VideoSpan())
    kept = []
    for _ in run.results():
        memories = [memory for track in run.session.tracks.values() for memory in track.memories.values()]
        pictures = run.session.frames._appended
        kept.append((sum(memory.spatial is not None for memory in memories), len(pictures)))
    assert kept[20:] == [kept[20]] * len(kept[20:])


def test_stream_file_and_list_are_one_and_spans_keep_frame_numbers(parts, clip):
    generator = Sam2VideoMaskGenerator(*parts, detect_every=4, finder=finder)
    whole = list(generator(clip))
    assert [result.masks for result in generator(iter(clip))] == [result.masks for result in whole]
    assert [result.frame for result in generator(clip, start=4, stride=2, max_frames=3)] == [4, 6, 8]
    assert [result.frame for result in generator(iter(clip), start=4, stride=2, end=10)] == [4, 6, 8]
    with pytest.raises(ValueError, match="forward only"):
        generator(clip, direction="backward")


def test_saved_run_goes_on_as_if_nothing_had_happened(parts, clip, tmp_path):
    def generator():
        return Sam2VideoMaskGenerator(*parts, detect_every=4, finder=FinderThatOverlooks(1))

    whole = list(generator()(clip))
    begun = generator().begin(clip, VideoSpan())
    earlier = list(islice(begun.results(), 6))
    begun.session.save(tmp_path / "state.safetensors")
    again = Sam2VideoMaskGenerator(*parts, detect_every=4, finder=finder).begin(clip, VideoSpan())
    again.go_on(Sam2InferenceSession.load(tmp_path / "state.safetensors", *parts), earlier)
    rest = list(again.results())
    assert [result.frame for result in rest] == list(range(6, 12))
    for one, other in zip([*earlier, *rest], whole, strict=True):
        assert (one.object_ids, one.labels, one.masks) == (other.object_ids, other.labels, other.masks)


def test_number_of_objects_can_be_limited_and_nothing_is_a_result(parts, clip):
    results = list(Sam2VideoMaskGenerator(*parts, detect_every=4, finder=finder, max_objects=1)(clip))
    assert {result.object_ids for result in results} == {(1,)}
    empty = list(Sam2VideoMaskGenerator(*parts, finder=finder)([frame()] * 3))
    assert [len(result) for result in empty] == [0, 0, 0]


def test_a_video_in_which_nothing_is_found_says_why_once(parts, clip):
    generator = Sam2VideoMaskGenerator(*parts, detect_every=2, points_per_side=2, pred_iou_thresh=1.0)
    with pytest.warns(NothingFoundWarning, match="at the last look of 12 candidates 12 fell to") as caught:
        results = list(generator(clip[:5]))
    assert len(caught) == 1
    assert [len(result) for result in results] == [0] * 5


@pytest.mark.parametrize(("name", "value"), [("detect_every", 0), ("track_iou", 0.0), ("max_objects", -1)])
def test_values_that_mean_nothing_are_refused(parts, name, value):
    with pytest.raises(ValueError, match=f"`{name}` is {value}"):
        Sam2VideoMaskGenerator(*parts, **{name: value})
