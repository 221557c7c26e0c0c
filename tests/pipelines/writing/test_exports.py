"""Every form of a result is read back by a reader that shares no code with its writer."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from sam2_hf.errors import OutputExistsError
from sam2_hf.pipelines.video import VideoFrameResult
from sam2_hf.processing import rle
from sam2_hf.processing.rle import polygons_to_mask
from tests.pipelines.made_results import HEIGHT, WIDTH, blob, made, shapes
from tests.tiny import scene

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools


def classed(**changes):
    count = len(shapes())
    classes = {"class_ids": np.array([0, 1, 0, 1, 2, 2]), "labels": ("cup", "cat", "cup", "cat", "a/b", "a/b")}
    return made(shapes(), image=scene(HEIGHT, WIDTH), source="photos/desk.jpg", **{**classes, **changes})[:count]


def read_coco(data: dict, path: Path) -> COCO:
    path.write_text(json.dumps(data, allow_nan=False))
    return COCO(str(path))


def area(points: list) -> float:
    x, y = np.array(points).T
    return abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))) / 2


# COCO


def test_coco_of_every_shape_comes_back_with_iou_1(tmp_path):
    read = read_coco(classed().to_coco(), tmp_path / "a.json")
    for annotation, mask in zip(read.loadAnns(range(1, 7)), shapes(), strict=True):
        assert np.array_equal(read.annToMask(annotation).astype(bool), mask)
        assert (annotation["area"], annotation["iscrowd"]) == (mask.sum(), 0)
        assert annotation["bbox"] == coco.toBbox(annotation["segmentation"]).tolist()


def test_coco_of_200_random_masks_comes_back_with_iou_1_and_pycocotools_boxes(tmp_path):
    generator = np.random.default_rng(0)
    dense = generator.random((200, 23, 31)) < generator.random((200, 1, 1)) ** 3
    dense[0], dense[1] = False, True
    result = made(dense)
    read = read_coco(result.to_coco(), tmp_path / "a.json")
    for row, annotation in enumerate(read.loadAnns(range(1, 201))):
        assert np.array_equal(read.annToMask(annotation).astype(bool), dense[row])
        assert annotation["bbox"] == coco.toBbox(annotation["segmentation"]).tolist()
        x0, y0, width, height = annotation["bbox"]
        assert result.boxes[row].tolist() == [x0, y0, x0 + width, y0 + height]


def test_coco_keeps_classes_scores_and_ids():
    data = classed(object_ids=("a", 2, 3, 4, 5, 6)).to_coco(image_id=4, first_id=10)
    assert data["images"] == [{"id": 4, "file_name": "desk.jpg", "height": HEIGHT, "width": WIDTH}]
    assert [entry["name"] for entry in data["categories"]] == ["cup", "cat", "a/b"]
    first = data["annotations"][0]
    assert (first["id"], first["image_id"], first["category_id"], first["score"]) == (10, 4, 1, 0.5)
    assert first["attributes"] == {
        "object_id": "a",
        "iou_scores": 0.5,
        "stability": 1.0,
        "object_scores": -1.234567,
        "det_scores": None,
    }


def test_coco_gives_objects_without_a_class_a_category_of_their_own():
    mixed = classed(class_ids=np.array([0, -1, 0, 1, 1, -1])).to_coco()
    assert [entry["category_id"] for entry in mixed["annotations"]] == [1, 3, 1, 2, 2, 3]
    assert [(entry["id"], entry["name"]) for entry in mixed["categories"]] == [(1, "cup"), (2, "cat"), (3, "object")]
    plain = made(shapes()).to_coco()
    assert {entry["category_id"] for entry in plain["annotations"]} == {1}
    assert made(shapes()[:0]).to_coco()["categories"] == [{"id": 1, "name": "object"}]


def test_coco_of_a_frame_has_track_ids():
    frame = made(shapes(), VideoFrameResult, object_ids=(7, 3, 9, 1, 2, 4), source="walk.mp4", frame=12)
    data = frame.to_coco()
    assert [entry["track_id"] for entry in data["annotations"]] == [7, 3, 9, 1, 2, 4]
    assert data["images"][0]["file_name"] == "walk/00012.jpg"


# LabelMe


def shape_mask(shape: dict) -> np.ndarray:
    (x0, y0), (x1, y1) = np.array(shape["points"], int)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    crop = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
    mask[y0 : y1 + 1, x0 : x1 + 1] = crop.astype(bool)
    return mask


def test_labelme_masks_come_back_from_base64():
    data = json.loads(json.dumps(classed().to_labelme()))
    assert (data["imagePath"], data["imageHeight"], data["imageWidth"]) == ("desk.jpg", HEIGHT, WIDTH)
    assert [shape["group_id"] for shape in data["shapes"]] == [1, 2, 3, 4, 5]  # the empty one has no shape
    for shape, mask in zip(data["shapes"], shapes(), strict=False):
        assert shape["shape_type"] == "mask"
        assert np.array_equal(shape_mask(shape), mask)
    assert data["shapes"][0]["label"] == "cup" and "iou_scores 0.5" in data["shapes"][0]["description"]
    assert data["shapes"][3]["points"] == [[89, 59], [89, 59]]


def test_labelme_polygons_have_a_shape_per_part_and_the_area_of_the_mask():
    shapes_of = {}
    for shape in classed().to_labelme(polygons=True)["shapes"]:
        assert shape["shape_type"] == "polygon"
        shapes_of.setdefault(shape["group_id"], []).append(shape["points"])
    assert [len(parts) for parts in shapes_of.values()] == [1, 2, 2, 1, 1]
    for number, mask in enumerate(shapes()[:5], start=1):
        assert sum(map(area, shapes_of[number])) == mask.sum()
        flat = [np.ravel(points).tolist() for points in shapes_of[number]]
        assert np.array_equal(coco.decode(coco.frPyObjects(flat, HEIGHT, WIDTH)).any(axis=2), mask)


@pytest.mark.parametrize("polygons", [True, False])
def test_labelme_files_are_read_by_the_training(tmp_path, polygons):
    from sam2_hf.datasets.formats.labelme import open_labelme

    Image.fromarray(scene(HEIGHT, WIDTH)).save(tmp_path / "desk.jpg")
    (tmp_path / "desk.json").write_text(json.dumps(classed().to_labelme(polygons=polygons)))
    (clip,) = open_labelme(tmp_path)
    assert [clip.object_names[key] for key in clip.object_ids] == ["cup", "cat", "cup", "cat", "a/b"]
    if not polygons:
        drawn = [mask for mask in classed().masks if mask.any()]  # an empty one has no shape
        for key, mask in zip(clip.object_ids, drawn, strict=True):
            assert np.array_equal(clip.masks(0)[key], mask)


# PNG, crops


def test_index_pictures_have_the_smaller_object_on_top_and_keep_areas():
    dense = shapes()[[4, 0, 3]]
    (instance,) = (np.asarray(picture) for picture in made(dense).to_png())
    assert [(instance == number).sum() for number in (1, 2, 3)] == [HEIGHT * WIDTH - 551, 550, 1]
    for picture, mask in zip(made(shapes()).to_png("object"), shapes(), strict=True):
        assert np.array_equal(np.asarray(picture) > 0, mask)


def test_crops_are_one_file_per_object_with_the_area_of_the_mask(tmp_path):
    paths = classed().save_crops(tmp_path / "crops")
    names = ["desk_1_cup", "desk_2_cat", "desk_3_cup", "desk_4_cat", "desk_5_a-b"]
    assert [path.name for path in paths] == [f"{name}.png" for name in names]
    for path, mask in zip(paths, shapes(), strict=False):
        with Image.open(path) as crop:
            assert (np.asarray(crop)[..., 3] > 0).sum() == mask.sum()
    with pytest.raises(OutputExistsError, match=r"desk_1_cup\.png: exists already"):
        classed().save_crops(tmp_path / "crops")
    assert len(classed().save_crops(tmp_path / "crops", padding=3, background="keep", overwrite=True)) == 5


def test_crops_of_ids_that_are_names_have_names_that_files_may_have(tmp_path):
    named = classed(object_ids=("the cup", "a/b", 3, 4, 5, 6), labels=())
    assert [path.name for path in named.save_crops(tmp_path)][:2] == ["desk_the-cup.png", "desk_a-b.png"]
    same = classed(object_ids=("a/b", "A b", 3, 4, 5, 6), labels=())
    assert [path.name for path in same.save_crops(tmp_path / "same")][:2] == ["desk_1.png", "desk_2.png"]
    frame = made(shapes()[:1], VideoFrameResult, image=scene(HEIGHT, WIDTH), source="my.walk.mp4", frame=4)
    assert frame.save_crops(tmp_path)[0].name == "my.walk_00004_1.png"
    address = made(shapes()[:1], image=scene(HEIGHT, WIDTH), source="https://host/a%20b/cup.jpg?size=2")
    assert address.save_crops(tmp_path)[0].name == "cup_1.png"


# Other libraries


def test_supervision_gets_every_field():
    supervision = pytest.importorskip("supervision")
    result = classed(object_ids=("a", "b", "c", "d", "e", "f"))
    detections = result.to_supervision()
    assert isinstance(detections, supervision.Detections)
    np.testing.assert_array_equal(detections.xyxy, result.boxes)
    np.testing.assert_array_equal(detections.mask, shapes())
    np.testing.assert_array_equal(detections.confidence, result.quality)
    np.testing.assert_array_equal(detections.class_id, result.class_ids)
    np.testing.assert_array_equal(detections.tracker_id, [1, 2, 3, 4, 5, 6])
    assert detections.data["class_name"].tolist() == list(result.labels)
    assert detections.data["object_id"].tolist() == list(result.object_ids)
    for name in ("iou_scores", "stability", "object_scores", "det_scores"):
        np.testing.assert_array_equal(detections.data[name], getattr(result, name))


def test_dense_masks_warn_above_a_gibibyte(monkeypatch):
    masks = made(np.stack([blob(0)] * 3)).masks
    monkeypatch.setattr(rle, "GIBIBYTE", 3 * 40 * 56)
    assert masks.dense().shape == (3, 40, 56)
    monkeypatch.setattr(rle, "GIBIBYTE", 2 * 40 * 56)
    with pytest.warns(UserWarning, match=r"3 masks of 40 x 56 pixels take 1\.5 GiB at once; iterate"):
        masks.dense()


def test_objects_without_a_class_erase_no_class_of_others():
    masks = shapes()[:3]
    result = made(masks, labels=("cat", None, "dog"), class_ids=np.array([0, -1, 1]))
    (picture,) = result.to_png("semantic")
    numbers = np.asarray(picture)
    assert set(np.unique(numbers)) == {0, 1, 2}
    assert np.array_equal(numbers > 0, masks[0] | masks[2])


def test_index_pictures_have_colours_for_viewers_and_keep_their_numbers():
    result = made(shapes()[:3], object_ids=(1, 7, 255))
    (picture,) = result.to_png("instance")
    assert picture.mode == "P" and set(np.unique(np.asarray(picture))) <= {0, 1, 7, 255}
    shown = np.asarray(picture.convert("RGB")).max(axis=2)
    assert shown[np.asarray(picture) > 0].min() > 150 and shown[np.asarray(picture) == 0].max(initial=0) == 0


def test_coco_polygons_are_drawn_to_the_same_masks():
    masks = np.stack([blob(seed) for seed in range(20)])
    data = made(masks).to_coco(polygons=True)
    for annotation, mask in zip(data["annotations"], masks, strict=True):
        assert np.array_equal(polygons_to_mask(annotation["segmentation"], mask.shape), mask)
        assert annotation["area"] == mask.sum()
