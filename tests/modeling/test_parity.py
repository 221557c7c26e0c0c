"""The original implementation's numbers, through our own conversion and public API, for all ten checkpoint layouts."""

import pytest

from tests.parity import SIZES, TAGS, component_differences, image_differences

COMPONENT_TOLERANCE = 1e-4
LOGIT_TOLERANCE = {"micro": 1e-4}  # of the low-resolution and full-size logits; other sizes:
FULL_SIZE_LOGIT_TOLERANCE = 1e-3
IOU_TOLERANCE = 1e-5
AREA_TOLERANCE = 1e-3  # relative


@pytest.mark.parametrize("version", TAGS)
def test_every_component_gives_the_golden_numbers(version, tmp_path):
    differences = component_differences(version, tmp_path)
    wrong = {name: value for name, value in differences.items() if value > COMPONENT_TOLERANCE}
    assert len(differences) == 24
    assert not wrong


@pytest.mark.parametrize(
    "size", [pytest.param(size, marks=pytest.mark.slow) if size != "micro" else size for size in SIZES]
)
@pytest.mark.parametrize("version", TAGS)
def test_image_predictor_gives_the_golden_numbers(version, size, tmp_path):
    differences = image_differences(version, size, tmp_path)
    tolerance = LOGIT_TOLERANCE.get(size, FULL_SIZE_LOGIT_TOLERANCE)
    assert max(differences["features"], differences["low-res logits"], differences["mask logits"]) <= tolerance
    assert differences["IoU"] <= IOU_TOLERANCE
    assert differences["area"] <= AREA_TOLERANCE
