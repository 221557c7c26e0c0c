import json

import pytest
import torch

from sam2_hf import Sam2Model
from sam2_hf.checkpoints.key_map import KEY_MAP, hub_name, original_name, to_hub, to_original
from sam2_hf.errors import CheckpointError
from tests.golden.recipe import golden_state_dict
from tests.parity import GOLDEN, SIZES, TAGS, release_config

LAYOUTS = [(version, size) for version in TAGS for size in SIZES]


def layout(version: str, size: str) -> dict[str, list[int]]:
    return json.loads((GOLDEN / "layouts" / f"{TAGS[version]}_hiera_{size}.json").read_text())


def numbered(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Small to hold: each tensor is one number, expanded."""
    return {name: torch.full((1,), float(i)).expand(shape) for i, (name, shape) in enumerate(shapes.items())}


@pytest.mark.parametrize(("version", "size"), LAYOUTS)
def test_every_name_of_a_layout_has_exactly_one_name_in_the_hub(version, size):
    shapes = layout(version, size)
    hub = to_hub(numbered(shapes))
    with torch.device("meta"):
        expected = {name: tuple(t.shape) for name, t in Sam2Model(release_config(version, size)).state_dict().items()}
    assert {name: tuple(tensor.shape) for name, tensor in hub.items()} == expected
    assert len(hub) == len(shapes) - 4 + 1 + 1  # point embeddings become one, the Fourier matrix two


@pytest.mark.parametrize("version", TAGS)
def test_round_trip_is_bit_equal_in_the_original_order(version):
    original = golden_state_dict(layout(version, "micro"), -0.155)
    back = to_original(to_hub(original))
    assert list(back) == list(original)
    assert all(torch.equal(back[name], original[name]) and back[name].is_contiguous() for name in original)
    storages = {tensor.untyped_storage().data_ptr() for tensor in back.values()}
    assert len(storages) == len(back)  # no aliasing


@pytest.mark.parametrize(("version", "size"), LAYOUTS)
def test_order_of_the_original_files_is_kept_for_every_layout(version, size):
    names = list(layout(version, size))
    backwards = {name: torch.zeros(1) for name in reversed(names)}
    assert list(to_original(to_hub(backwards))) == names


def test_conversion_is_pure_renaming():
    original = golden_state_dict(layout("2.1", "micro"), -0.155)
    hub = to_hub(original)
    numel = [sum(tensor.numel() for tensor in names.values()) for names in (original, hub)]
    assert numel[1] - numel[0] == 2 * 32  # the second copy of the Fourier matrix


def test_no_name_matches_two_rows():
    for version in TAGS:
        for name in layout(version, "large"):
            assert original_name(hub_name(name)) == name


def test_table_has_no_row_twice():
    for side in (0, 1):
        names = [row[side] for row in KEY_MAP]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", ["memory_attention.layers.0.out_proj.weight", "xno_mem_embed", "no_mem_embed.weight"])
def test_name_that_only_resembles_one_is_refused(name):
    with pytest.raises(CheckpointError, match="is not a parameter of SAM 2 in the original layout"):
        to_hub({name: torch.zeros(1)})


def test_copies_of_the_fourier_matrix_that_differ_are_refused():
    hub = to_hub(golden_state_dict(layout("2.1", "micro"), -0.155))
    hub["prompt_encoder.shared_embedding.positional_embedding"] += 1
    with pytest.raises(CheckpointError, match="they are one matrix"):
        to_original(hub)
