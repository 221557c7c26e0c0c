"""Data sets on disk: every layout, and every way they can be broken."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sam2_hf.datasets import registry
from sam2_hf.datasets.clips import ArrayClip
from sam2_hf.datasets.registry import dataset_format, dataset_formats, open_dataset
from sam2_hf.errors import DecodeError, SourceError
from sam2_hf.processing.picture_files import natural_order

HEIGHT, WIDTH = 12, 20


def picture(path, size=(HEIGHT, WIDTH)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path)


def ids(path, values, mode="P"):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.asarray(values)
    image = Image.fromarray(array.astype(np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        image.putpalette(list(range(256)) * 3)
    image.save(path)


def two_objects(second=2):
    values = np.zeros((HEIGHT, WIDTH), int)
    values[2:6, 3:9] = 1
    values[5:10, 10:18] = second
    return values


def davis(root, nested=True):
    for frame in range(3):
        picture(root / "JPEGImages" / ("480p" if nested else "") / "dog" / f"{frame:05d}.jpg")
    for frame in (0, 2):
        ids(root / "Annotations" / ("480p" if nested else "") / "dog" / f"{frame:05d}.png", two_objects())
    return root


@pytest.mark.parametrize("nested", [True, False])
def test_davis_layout_with_and_without_resolution_folder(tmp_path, nested):
    (clip,) = open_dataset("davis", davis(tmp_path, nested))
    assert (clip.name, clip.num_frames, clip.labelled_frames, clip.object_ids) == ("dog", 3, (0, 2), (1, 2))
    assert clip.size == (HEIGHT, WIDTH)
    assert clip.masks(2)[2].sum() == 40
    assert clip.frame_name(2) == "00002"
    with pytest.raises(SourceError, match="frame 1 has no truth"):
        clip.masks(1)


def test_folder_per_clip(tmp_path):
    picture(tmp_path / "a" / "JPEGImages" / "0.jpg")
    ids(tmp_path / "a" / "Annotations" / "0.png", two_objects())
    assert [clip.name for clip in open_dataset("davis", tmp_path)] == ["a"]


def test_255_is_void_unless_switched_off(tmp_path):
    root = davis(tmp_path)
    ids(root / "Annotations/480p/dog/00000.png", two_objects(255))
    (clip,) = open_dataset("davis", root)
    assert clip.object_ids == (1, 2)
    assert clip.void(0).sum() == 40
    assert clip.void(2) is None
    (clip,) = open_dataset("davis", root, void_value=None)
    assert clip.object_ids == (1, 2, 255)
    assert clip.void(0) is None


def test_ids_above_255_are_read_from_16_bit_files(tmp_path):
    picture(tmp_path / "images" / "a.png")
    ids(tmp_path / "masks" / "a.png", two_objects(700), "I;16")
    (clip,) = open_dataset("masks", tmp_path)
    assert clip.object_ids == (1, 700)
    assert clip.masks(0)[700].sum() == 40


def test_mask_beside_its_picture_in_any_folder(tmp_path):
    picture(tmp_path / "cells" / "a.v2.jpg")
    ids(tmp_path / "cells" / "a.v2.mask.png", two_objects())
    (clip,) = open_dataset("masks", tmp_path)
    assert (clip.name, clip.object_ids) == ("cells/a.v2", (1, 2))


@pytest.mark.parametrize("value", [1, 255])
def test_black_and_white_mask_is_one_object(tmp_path, value):
    picture(tmp_path / "images" / "a.jpg")
    ids(tmp_path / "masks" / "a.png", (two_objects() > 0) * value, "L")
    (clip,) = open_dataset("masks", tmp_path)
    assert clip.object_ids == (1,)
    assert clip.masks(0)[1].sum() == 64


def test_empty_mask_is_a_picture_without_objects(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    ids(tmp_path / "masks" / "a.png", np.zeros((HEIGHT, WIDTH)))
    (clip,) = open_dataset("masks", tmp_path)
    assert clip.object_ids == ()
    assert clip.masks(0) == {}


def test_mask_of_another_size_is_refused(tmp_path):
    picture(tmp_path / "images" / "a.jpg", (HEIGHT + 1, WIDTH))
    ids(tmp_path / "masks" / "a.png", two_objects())
    (clip,) = open_dataset("masks", tmp_path)
    with pytest.raises(SourceError, match=r"a\.png: the mask is \(height, width\) \(12, 20\).*\(13, 20\)"):
        clip.masks(0)


def test_sizes_are_compared_in_headers_before_a_run(tmp_path):
    root = davis(tmp_path / "davis")
    (clip,) = open_dataset("davis", root)
    assert list(clip.doubtful_frames()) == []
    ids(root / "Annotations/480p/dog/00002.png", np.ones((HEIGHT, WIDTH + 1)))
    (clip,) = open_dataset("davis", root)
    assert list(clip.doubtful_frames()) == [2]
    (root / "JPEGImages/480p/dog/00000.jpg").write_bytes(b"no picture")
    (clip,) = open_dataset("davis", root)
    assert list(clip.doubtful_frames()) == [0, 2]
    picture(tmp_path / "sav/JPEGImages_24fps/v/00000.jpg")
    ids(tmp_path / "sav/Annotations_6fps/v/000/00000.png", np.ones((HEIGHT, WIDTH)), "L")
    ids(tmp_path / "sav/Annotations_6fps/v/001/00000.png", np.ones((HEIGHT + 1, WIDTH)), "L")
    (clip,) = open_dataset("sav", tmp_path / "sav")
    assert list(clip.doubtful_frames()) == [0]


def test_missing_partner_is_named(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    picture(tmp_path / "images" / "b.jpg")
    ids(tmp_path / "masks" / "a.png", two_objects())
    with pytest.raises(SourceError, match=r"b\.jpg: has no mask"):
        open_dataset("masks", tmp_path)
    (tmp_path / "images" / "b.jpg").unlink()
    (tmp_path / "images" / "a.jpg").unlink()
    picture(tmp_path / "images" / "c.jpg")
    ids(tmp_path / "masks" / "c.png", two_objects())
    with pytest.raises(SourceError, match=r"a\.png: has no picture"):
        open_dataset("masks", tmp_path)


def test_colour_picture_is_no_mask(tmp_path):
    picture(tmp_path / "images" / "a.jpg")
    path = tmp_path / "masks" / "a.png"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(path)
    (clip,) = open_dataset("masks", tmp_path)
    with pytest.raises(SourceError, match="mode RGB"):
        clip.masks(0)


def test_damaged_files_are_named(tmp_path):
    root = davis(tmp_path)
    (root / "Annotations/480p/dog/00000.png").write_bytes(b"no picture")
    (root / "JPEGImages/480p/dog/00001.jpg").write_bytes(b"no picture")
    (clip,) = open_dataset("davis", root)
    with pytest.raises(DecodeError, match=r"00000\.png"):
        clip.masks(0)
    with pytest.raises(DecodeError, match=r"00001\.jpg"):
        clip.frame(1)


def test_mask_without_frame_is_refused(tmp_path):
    root = davis(tmp_path)
    ids(root / "Annotations/480p/dog/00009.png", two_objects())
    with pytest.raises(SourceError, match=r"00009\.png: belongs to no frame of dog"):
        open_dataset("davis", root)


def test_wrong_kind_or_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no data set kind 'voc'"):
        open_dataset("voc", tmp_path)
    with pytest.raises(SourceError, match="no such folder"):
        open_dataset("davis", tmp_path / "nowhere")
    with pytest.raises(SourceError, match="holds no davis data"):
        open_dataset("davis", tmp_path)


def test_a_kind_of_ones_own_is_opened_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_openers", dict(dataset_formats()))
    with pytest.raises(ValueError, match=r"'coco' are opened by sam2_hf\.datasets\.formats\.coco already"):
        dataset_format("coco")(lambda root: [])

    @dataset_format("mine")
    def open_mine(root, *, count=1):
        return [ArrayClip(root.name, [np.zeros((HEIGHT, WIDTH, 3), np.uint8)], [])] * count

    assert [clip.name for clip in open_dataset("mine", tmp_path, count=2)] == [tmp_path.name] * 2
    with pytest.raises(SourceError, match="holds no mine data"):
        open_dataset("mine", tmp_path, count=0)


def test_every_kind_has_a_file_of_its_name():
    kinds = {name: opener.__module__.rpartition(".")[2] for name, opener in dataset_formats().items()}
    assert kinds == {name: name for name in ("coco", "davis", "labelme", "masks", "sa1b", "sav")}


def test_objects_in_folders_overlap_and_may_be_missing(tmp_path):
    for frame in range(2):
        picture(tmp_path / "JPEGImages_24fps" / "v" / f"{frame:05d}.jpg")
    full = np.ones((HEIGHT, WIDTH))
    ids(tmp_path / "Annotations_6fps/v/000/00000.png", full, "L")
    ids(tmp_path / "Annotations_6fps/v/001/00000.png", full, "L")
    ids(tmp_path / "Annotations_6fps/v/001/00001.png", full, "L")
    (clip,) = open_dataset("sav", tmp_path)
    assert (clip.object_ids, clip.labelled_frames, clip.object_names) == ((1, 2), (0, 1), {1: "000", 2: "001"})
    assert clip.masks(0)[1].all()
    assert clip.masks(0)[2].all()
    assert not clip.masks(1)[1].any()
    assert not clip.has_truth(1, 1)


def rle(mask):
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def test_sav_videos_with_masklets(tmp_path):
    import av

    with av.open(str(tmp_path / "sav_1.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height = 32, 16
        for number in range(9):
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), 20 * number, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    mask = np.zeros((16, 32), bool)
    mask[3:8, 4:20] = True
    data = {"masklet": [[rle(mask)], [None], [rle(~mask)]]}
    (tmp_path / "sav_1_manual.json").write_text(json.dumps(data))
    (clip,) = open_dataset("sav", tmp_path)
    assert (clip.num_frames, clip.object_ids, clip.frame_name(1)) == (2, (1,), "00008")
    assert np.array_equal(clip.masks(1)[1], ~mask)
    assert np.asarray(clip.frame(1)).mean() == pytest.approx(160, abs=4)
    with pytest.raises(ValueError, match="'both'"):
        open_dataset("sav", tmp_path, variant="both")


def coco_file(root, annotations):
    picture(root / "images" / "a.jpg")
    data = {
        "images": [{"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [{"image_id": 7, "category_id": 3, **one} for one in annotations],
    }
    (root / "instances.json").write_text(json.dumps(data))


def test_coco_polygons_run_lengths_and_crowds(tmp_path):
    box = [2, 1, 8, 1, 8, 6, 2, 6]
    counts = {"size": [HEIGHT, WIDTH], "counts": [0, 24, HEIGHT * WIDTH - 24]}
    coco_file(tmp_path, [{"segmentation": [box]}, {"segmentation": counts}, {"segmentation": [box], "iscrowd": 1}])
    (clip,) = open_dataset("coco", tmp_path)
    assert (clip.object_ids, clip.object_names[1]) == ((1, 2), "cell")
    assert clip.masks(0)[1].sum() == 30
    assert clip.masks(0)[2].sum() == 24
    assert len(open_dataset("coco", tmp_path, crowds=True)[0].object_ids) == 3


def test_coco_with_missing_picture_or_file_is_refused(tmp_path):
    coco_file(tmp_path, [{"segmentation": [[0, 0, 4, 0, 4, 4]]}])
    (tmp_path / "images" / "a.jpg").unlink()
    with pytest.raises(SourceError, match=r"a\.jpg: named in instances\.json"):
        open_dataset("coco", tmp_path)
    (tmp_path / "instances.json").write_text("{")
    with pytest.raises(DecodeError, match="is not JSON"):
        open_dataset("coco", tmp_path)
    (tmp_path / "instances.json").unlink()
    with pytest.raises(SourceError, match="found none"):
        open_dataset("coco", tmp_path)


def test_labelme_groups_parts_of_one_object(tmp_path):
    picture(tmp_path / "a.jpg")
    shapes = [
        {"label": "cell", "points": [[1, 1], [4, 3]], "shape_type": "rectangle", "group_id": 1},
        {"label": "cell", "points": [[10, 1], [12, 3]], "shape_type": "rectangle", "group_id": 1},
        {"label": "cell", "points": [[6, 8], [8, 8]], "shape_type": "circle", "group_id": None},
        {"label": "dust", "points": [[1, 6], [4, 6], [4, 10]], "shape_type": "polygon", "group_id": None},
    ]
    (tmp_path / "a.json").write_text(json.dumps({"imagePath": "..\\x\\a.jpg", "shapes": shapes}))
    (clip,) = open_dataset("labelme", tmp_path)
    assert clip.object_names == {1: "cell", 2: "cell", 3: "dust"}
    assert clip.masks(0)[1].sum() == 12 + 9
    assert clip.masks(0)[2][8, 6]
    shapes[0]["shape_type"] = "line"
    (tmp_path / "a.json").write_text(json.dumps({"imagePath": "a.jpg", "shapes": shapes}))
    with pytest.raises(SourceError, match="'line' has no area"):
        open_dataset("labelme", tmp_path)


def test_sa1b_leaves_out_empty_and_doubtful_masks(tmp_path):
    picture(tmp_path / "sa_1.jpg")
    small, large, empty = (np.zeros((HEIGHT, WIDTH), bool) for _ in range(3))
    small[:3, :3], large[:11] = True, True
    annotations = [
        {"segmentation": rle(mask), "area": int(mask.sum()), "uncertain_iou": score}
        for mask, score in ((small, 0.9), (large, 0.9), (empty, 0.9), (small, 0.2))
    ]
    (tmp_path / "sa_1.json").write_text(json.dumps({"annotations": annotations}))
    assert len(open_dataset("sa1b", tmp_path)[0].object_ids) == 3
    (clip,) = open_dataset("sa1b", tmp_path, max_area_fraction=0.9, min_uncertain_iou=0.5)
    assert [mask.sum() for mask in clip.masks(0).values()] == [9]


def test_clip_in_memory_fills_in_absent_objects():
    mask = np.ones((HEIGHT, WIDTH), bool)
    clip = ArrayClip("made", [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 2, [{1: mask}, {4: mask}])
    assert clip.object_ids == (1, 4)
    assert not clip.masks(0)[4].any()
    assert clip.void(0) is None


def test_two_comes_before_ten(tmp_path):
    names = [tmp_path / name for name in ("f10.png", "f2.png", "f1.png")]
    assert [path.name for path in natural_order(names)] == ["f1.png", "f2.png", "f10.png"]
