"""What a sample is: which frames, which objects, from clips and tables; and how sources are mixed."""

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from sam2_hf.datasets.clips import ArrayClip
from sam2_hf.datasets.tables import masks_of
from sam2_hf.errors import SourceError
from sam2_hf.training.batches import collate
from sam2_hf.training.mixing import MixedDataset, MixedSource, epoch_batches, epoch_length
from sam2_hf.training.sources import ClipSource, SamplingOptions
from sam2_hf.training.streams import StreamSource
from sam2_hf.training.transforms import AugmentOptions

SIZE = (24, 36)


def clip(length=10, objects=3, name="clip"):
    """Frame n has the grey value n; object k is there from frame k on."""
    frames = [np.full((*SIZE, 3), number, np.uint8) for number in range(length)]
    masks = []
    for frame in range(length):
        here = {key: np.zeros(SIZE, bool) for key in range(1, objects + 1)}
        for key in here:
            if frame >= key - 1:
                here[key][2 * key : 2 * key + 4, 5 : 5 + 5 * key] = True
        masks.append(here)
    return ArrayClip(name, frames, masks)


def sampled(options, seeds=50, length=10, **others):
    source = ClipSource([clip(length)], options, **others)
    return [source.sample(0, np.random.default_rng(seed)) for seed in range(seeds)]


def numbers(sample):
    return sample.frames[:, 0, 0, 0].tolist()


def test_frames_are_consecutive_and_starts_vary():
    found = [numbers(sample) for sample in sampled(SamplingOptions(num_frames=4))]
    assert all(np.diff(frames).tolist() == [1, 1, 1] for frames in found)
    assert {frames[0] for frames in found} == set(range(7))


def test_strides_stay_inside_the_clip():
    found = [numbers(sample) for sample in sampled(SamplingOptions(num_frames=4, max_stride=9))]
    assert {int(np.diff(frames)[0]) for frames in found} == {1, 2, 3}


def test_half_of_the_clips_run_backwards():
    found = [numbers(sample) for sample in sampled(SamplingOptions(num_frames=3, reverse=0.5), seeds=200)]
    assert 70 < sum(frames[0] > frames[-1] for frames in found) < 130


def test_objects_are_those_of_the_first_frame():
    for sample in sampled(SamplingOptions(num_frames=2, max_objects=3)):
        assert sample.masks.shape[0] == min(3, numbers(sample)[0] + 1)
        assert sample.masks[:, 0].flatten(1).any(dim=1).all()


def test_objects_can_be_repeated_up_to_the_limit():
    for sample in sampled(SamplingOptions(num_frames=1, max_objects=4, fill_objects=True)):
        assert sample.masks.shape[0] == 4


def test_large_objects_can_be_left_out():
    for sample in sampled(SamplingOptions(num_frames=1, max_objects=3, max_area=0.03)):
        assert sample.masks.float().mean(dim=(2, 3)).max() <= 0.03


def test_too_short_a_clip_is_an_error_at_once():
    with pytest.raises(SourceError, match=r"clip: has 3 labelled frames, but samples are 4"):
        ClipSource([clip(3)], SamplingOptions(num_frames=4))


def test_a_clip_without_objects_is_an_error_when_drawn():
    with pytest.raises(SourceError, match="no object is visible"):
        ClipSource([clip(2, objects=0)], SamplingOptions()).sample(0, np.random.default_rng(0))


def test_kept_frames_equal_decoded_ones():
    options = SamplingOptions(num_frames=2)
    for here, there in zip(sampled(options), sampled(options, max_side=100), strict=True):
        assert (here.frames == there.frames).all()
        assert (here.masks == there.masks).all()
    small = sampled(options, seeds=1, max_side=18)[0]
    assert small.frames.shape[-2:] == (12, 18)
    assert small.masks.shape[-2:] == (12, 18)


def test_void_pixels_travel_with_the_frames():
    class WithVoid(ArrayClip):
        def void(self, index):
            return np.arange(SIZE[1])[None].repeat(SIZE[0], 0) > 30 if index else None

    made = clip()
    source = ClipSource([WithVoid("void", made._frames, made._masks)], SamplingOptions(num_frames=2), max_side=18)
    sample = source.sample(0, np.random.default_rng(3))
    assert sample.void.shape == (2, 12, 18)
    assert sample.void[1, :, 16:].all()


# Tables


def rows(count=6):
    ids = np.zeros(SIZE, np.uint8)
    ids[3:9, 4:12], ids[12:20, 4:12] = 1, 2
    pictures = [Image.fromarray(np.full((*SIZE, 3), number, np.uint8)) for number in range(count)]
    return Dataset.from_dict({"image": pictures, "masks": [Image.fromarray(ids)] * count}).cast_column(
        "image", Dataset.from_dict({"image": pictures[:1]}).features["image"]
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_tables_are_read_in_order_streamed_or_not(streaming):
    table = rows().to_iterable_dataset() if streaming else rows()
    source = StreamSource(table, 6, SamplingOptions(max_objects=2))
    read = [numbers(source.sample(index, np.random.default_rng(0)))[0] for index in (0, 2, 3, 1)]
    assert read == [0, 2, 3, 1]
    with pytest.raises(SourceError, match="ends after 6 rows"):
        source.sample(6, np.random.default_rng(0))


def test_tables_with_other_columns_say_which():
    source = StreamSource(rows(), 6, SamplingOptions(), masks="label")
    with pytest.raises(SourceError, match=r"no column 'label'; columns are image, masks"):
        source.sample(0, np.random.default_rng(0))


def test_masks_of_a_row_come_in_three_kinds():
    mask = np.zeros(SIZE, bool)
    mask[2:4] = True
    counts = {"size": list(SIZE), "counts": [0, SIZE[0], SIZE[0] * (SIZE[1] - 1)]}
    assert list(masks_of(Image.fromarray(mask.astype(np.uint8) * 7))) == [7]
    assert np.array_equal(masks_of([mask.astype(np.uint8) * 255])[1], mask)
    assert masks_of([counts])[1][:, 0].all()


# Mixing


def mixed(batch_sizes=(2, 3), lengths=(8, 9), repeats=(1.0, 1.0)):
    return [
        MixedSource(
            source=ClipSource([clip(name=f"{number}.{index}") for index in range(length)], SamplingOptions()),
            augment=AugmentOptions(),
            batch_size=size,
            repeat=repeat,
        )
        for number, (size, length, repeat) in enumerate(zip(batch_sizes, lengths, repeats, strict=True))
    ]


def test_an_epoch_takes_every_clip_once_in_batches_of_one_source():
    batches = epoch_batches(mixed(), epoch=0, seed=1)
    assert sorted(len(batch) for batch in batches) == [2] * 4 + [3] * 3
    assert all(len({key[1] for key in batch}) == 1 for batch in batches)
    assert len({key for batch in batches for key in batch}) == 17


def test_epochs_differ_and_repeat_themselves():
    assert epoch_batches(mixed(), 0, 1) == epoch_batches(mixed(), 0, 1)
    assert epoch_batches(mixed(), 0, 1) != epoch_batches(mixed(), 1, 1)


def test_two_processes_see_together_what_one_sees_with_twice_the_batch():
    pair = epoch_batches(mixed((2, 2)), 0, 1, processes=2)
    alone = epoch_batches(mixed((4, 4)), 0, 1)
    assert pair == alone


def test_fractions_of_repeats_are_rounded_at_random():
    counts = [sum(map(len, epoch_batches(mixed((1, 1), repeats=(1.5, 0.25)), epoch, 1))) for epoch in range(60)]
    assert len(set(counts)) > 3
    assert np.mean(counts) == pytest.approx(1.5 * 8 + 0.25 * 9, abs=0.8)


def test_the_length_of_an_epoch_is_known_without_its_batches():
    for epoch in range(20):
        for sources in (mixed(repeats=(1.5, 0.25)), mixed((8,), (3,), (1.0,)), mixed((4,), (3,), (0.2,))):
            assert epoch_length(sources, epoch, 1, 2) == len(epoch_batches(sources, epoch, 1, 2))


def test_a_source_smaller_than_a_batch_fills_one_with_different_draws():
    (batch,) = epoch_batches(mixed((8,), (3,), (1.0,)), 0, 1)
    assert len(set(batch)) == 8
    assert {key[2] for key in batch} == {0, 1, 2}


def test_samples_are_functions_of_their_key():
    dataset = MixedDataset(mixed(), 32, seed=3)
    key = (0, 1, 4, 0)
    first, second = dataset[key], dataset[key]
    assert (first.frames == second.frames).all()
    assert first.seed == second.seed
    batch = collate([first, dataset[0, 1, 5, 0]])
    assert batch.frames.shape == (2, 1, 3, 32, 32)
    assert batch.num_objects == batch.masks.shape[0]
