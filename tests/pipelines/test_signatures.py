"""Options of public doors are seen and checked."""

import inspect
from dataclasses import dataclass, field

import pytest

import sam2_hf
from sam2_hf import GeneratorOptions, Sam2MaskGenerator, Sam2VideoMaskGenerator
from sam2_hf.pipelines.image import segment
from sam2_hf.pipelines.signatures import takes_arguments_of
from sam2_hf.processing.requests import requests_from
from tests.tiny import micro_model, micro_processor


@dataclass(frozen=True, kw_only=True)
class Choices:
    height: float = 1.5
    names: list = field(default_factory=list)


@takes_arguments_of(Choices)
def shape(first, *, width: int = 2, **options):
    return first, width, Choices(**options)


def test_fields_stand_in_the_signature_with_their_defaults():
    assert str(inspect.signature(shape)) == "(first, *, width: int = 2, height: float = 1.5, names: list = [])"
    assert shape(1, height=3) == (1, 2, Choices(height=3))


def test_unknown_names_are_refused_with_the_nearest_one():
    with pytest.raises(TypeError, match=r"shape\(\) takes no 'hight'; did you mean 'height'\?"):
        shape(1, hight=3)
    with pytest.raises(TypeError, match="takes no 'zzz'; it takes height, names"):
        shape(1, zzz=3)


@pytest.mark.parametrize("door", [Sam2MaskGenerator, Sam2VideoMaskGenerator])
def test_options_of_generators_are_seen(door):
    shown = inspect.signature(door).parameters
    assert shown["points_per_side"].default == 32 and shown["pred_iou_thresh"].default == 0.8
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in shown.values())
    with pytest.raises(TypeError, match="did you mean 'points_per_side'"):
        door(micro_model(image_size=64), micro_processor(64), point_per_side=4)


def test_options_of_a_generator_may_be_given_whole():
    parts = micro_model(image_size=64), micro_processor(64)
    options = GeneratorOptions(points_per_side=3, box_nms_thresh=0.5)
    assert Sam2MaskGenerator(*parts, options=options).options == options
    assert "points_per_side=3" in repr(Sam2MaskGenerator(*parts, points_per_side=3))
    with pytest.raises(TypeError, match="`options` says everything; leave out `points_per_side`"):
        Sam2MaskGenerator(*parts, options=options, points_per_side=3)


def test_arguments_of_functions_are_seen_too_but_for_those_that_are_left_out():
    @takes_arguments_of(requests_from, Choices, but=("frame", "height"))
    def ask(first, **given):
        return given

    shown = inspect.signature(ask).parameters
    assert list(shown)[:3] == ["first", "points", "labels"] and list(shown)[-1] == "names"
    assert ask(1, points=[3, 4]) == {"points": [3, 4]}
    with pytest.raises(TypeError, match="takes no 'frame'"):
        ask(1, frame=2)


@pytest.mark.parametrize("task", ["promptable-segmentation", "video-object-segmentation"])
def test_arguments_of_pipelines_are_seen(task):
    shown = inspect.signature(sam2_hf.pipeline(task, model=micro_model(image_size=64)).__call__).parameters
    assert {"points", "boxes", "objects", "prompts", "normalized"} <= set(shown)
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in shown.values())


def test_options_of_segment_are_seen():
    assert inspect.signature(segment).parameters["multimask"].default is False
    with pytest.raises(TypeError, match="did you mean 'multimask'"):
        segment(micro_model(), micro_processor(), None, multi_mask=True)
