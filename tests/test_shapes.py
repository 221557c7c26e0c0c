import pytest
import torch

from sam2_hf.shapes import check_shape


def test_shape_that_follows_its_legend_passes():
    check_shape("points", torch.zeros(3, 5, 2), "objects points 2")
    check_shape("size", (4, 2), "objects 2")


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (3, 5, 2, 1)])
def test_other_shape_is_refused_with_legend_and_sizes(shape):
    with pytest.raises(ValueError, match=r"`points` must be \(objects, points, 2\), got \(3, 5"):
        check_shape("points", torch.zeros(shape), "objects points 2")
