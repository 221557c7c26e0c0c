from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sam2_hf.errors import OutputExistsError
from sam2_hf.pipelines.results import ImageResult
from sam2_hf.pipelines.writing.drawing import colour_of, outline
from sam2_hf.processing.pixels import open_picture
from sam2_hf.processing.prompts import ObjectPrompt
from sam2_hf.processing.rle import Masks
from tests.tiny import scene

HEIGHT, WIDTH = 60, 90
JPEG_MARK = b"\xff\xd8\xff"


def to_array(path) -> np.ndarray:
    return np.asarray(open_picture(path))


def dense_masks() -> np.ndarray:
    masks = np.zeros((3, HEIGHT, WIDTH), bool)
    masks[0, 10:30, 20:50] = True
    masks[0, 15:20, 30:40] = False  # a hole
    masks[1, 59, 89] = True
    return masks


def result(**changes) -> ImageResult:
    masks = Masks.from_dense(dense_masks(), (HEIGHT, WIDTH))
    fields = {
        "size": (HEIGHT, WIDTH),
        "masks": masks,
        "object_ids": (7, 2, 9),
        "boxes": masks.boxes(),
        "iou_scores": np.array([0.9, 0.123456, 0.5], np.float32),
        "stability": np.array([0.99, 1.0, 0.0], np.float32),
        "object_scores": np.array([3.5, -1.25, 0.0], np.float32),
        "prompts": (ObjectPrompt(points=[[30.0, 20.0]], labels=[1]), ObjectPrompt(box=[1.0, 2.0, 3.0, 4.0]), None),
        "image": scene(HEIGHT, WIDTH),
    }
    return ImageResult(**{**fields, **changes})


def test_masks_decode_to_what_was_encoded():
    masks = Masks.from_dense(dense_masks(), (HEIGHT, WIDTH))
    assert np.array_equal(masks.dense(), dense_masks())
    assert np.array_equal(np.stack(list(masks[1:])), dense_masks()[1:])
    assert masks.areas().tolist() == [550, 1, 0]
    assert masks.boxes().tolist() == [[20, 10, 50, 30], [89, 59, 90, 60], [0, 0, 0, 0]]


def test_run_lengths_are_cocos_column_by_column():
    masks = Masks.from_dense(np.array([[[0, 1, 1], [0, 0, 1]]], bool), (2, 3))
    (expected,) = coco.frPyObjects([{"size": [2, 3], "counts": [2, 1, 1, 2]}], 2, 3)
    assert masks.rle[0] == {"size": [2, 3], "counts": expected["counts"].decode()}


def test_boxes_of_random_masks_are_pycocotools_boxes():
    generator = np.random.default_rng(0)
    for _ in range(50):
        mask = generator.random((1, 13, 17)) > generator.random()
        x0, y0, x1, y1 = Masks.from_dense(mask, (13, 17)).boxes()[0]
        rows, columns = np.nonzero(mask[0])
        expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) if rows.size else (0, 0, 0, 0)
        assert (x0, y0, x1, y1) == expected


def test_no_masks_are_a_result():
    empty = Masks.from_dense(np.zeros((0, HEIGHT, WIDTH), bool), (HEIGHT, WIDTH))
    assert len(empty) == 0 and empty.dense().shape == (0, HEIGHT, WIDTH) and empty.boxes().shape == (0, 4)


def test_json_round_trip_is_exact():
    first = result(alternatives=(Masks.from_dense(dense_masks(), (HEIGHT, WIDTH)),) * 3)
    back = ImageResult.from_json(first.to_json())
    assert back.masks == first.masks and back.object_ids == first.object_ids and back.alternatives == first.alternatives
    assert back.prompts == first.prompts
    for name in ("boxes", "iou_scores", "stability", "object_scores"):
        assert np.array_equal(getattr(back, name), getattr(first, name)), name
    assert back.to_json() == first.to_json()


def test_sequences_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match=r"a result of 3 masks has \{'object_ids': 2\}"):
        result(object_ids=(1, 2))
    with pytest.raises(ValueError, match=r"a mask has size \(60, 90\), the picture \(9, 9\)"):
        Masks(result().masks.rle, (9, 9))


def test_plot_tints_inside_and_leaves_outside_alone():
    picture = scene(HEIGHT, WIDTH)
    drawn = np.asarray(result().plot(points=False, labels=False))
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    untouched = ~dense_masks().any(axis=0)
    assert np.array_equal(drawn[untouched], picture[untouched])
    assert tuple(drawn[10, 20]) == colour_of(7)  # the outline
    expected = (picture[12, 22] * 0.5 + np.array(colour_of(7)) * 0.5).astype(np.uint8)
    assert np.abs(drawn[12, 22].astype(int) - expected).max() <= 1


def test_plot_draws_prompts_in_the_colour_of_their_object():
    drawn = np.asarray(result().plot())
    assert tuple(drawn[20, 30]) == colour_of(7)
    assert tuple(drawn[2, 2]) == colour_of(2)


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1)])
def test_plot_of_extreme_sizes_works(size):
    masks = Masks.from_dense(np.ones((1, *size), bool), size)
    one = np.ones(1, np.float32)
    plain = ImageResult(
        size=size,
        masks=masks,
        object_ids=(1,),
        boxes=masks.boxes(),
        iou_scores=one,
        stability=one,
        object_scores=one,
        image=np.zeros((*size, 3), np.uint8),
    )
    assert plain.plot().size == size[::-1]


def test_outline_is_the_inner_border():
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    assert outline(mask, 1).sum() == 16
    assert outline(mask, 3).sum() == 25


def test_suffix_decides_what_is_saved(tmp_path):
    first = result()
    assert np.array_equal(to_array(first.save(tmp_path / "deep" / "a.png")), np.asarray(first.plot()))
    assert first.save(tmp_path / "a.jpg").read_bytes()[:3] == JPEG_MARK
    assert ImageResult.from_json(first.save(tmp_path / "a.json").read_text()).masks == first.masks
    with np.load(first.save(tmp_path / "a.npz")) as saved:
        assert np.array_equal(saved["masks"], dense_masks()) and saved["object_ids"].tolist() == [7, 2, 9]
    with pytest.raises(ValueError, match=r"cannot save as \.tiff; use one of \.png"):
        first.save(tmp_path / "a.tiff")
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


def test_saving_never_overwrites_unless_told(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="exists already"):
        result().save(path)
    assert path.read_text() == "mine"
    result().save(path, overwrite=True)
    assert path.read_text() != "mine"


def test_picture_is_read_again_from_its_source(tmp_path):
    Image.fromarray(scene(HEIGHT, WIDTH)).save(tmp_path / "photo.png")
    first = result(source=str(tmp_path / "photo.png"))
    back = ImageResult.from_json(first.to_json())
    assert np.array_equal(np.asarray(back.plot()), np.asarray(first.plot()))


def test_summary_counts_objects():
    assert result(timings={"encode": 40.0, "decode": 1.4}).summary() == "3 objects; 41 ms"
    assert result(timings={}).summary() == "3 objects"  # nobody measured: not "0 ms"


def test_ids_may_be_names_and_numpy_numbers_but_not_twice():
    named = result(object_ids=("cat", np.int64(5), 2))
    assert ImageResult.from_json(named.to_json()).object_ids == ("cat", 5, 2)
    assert np.asarray(named.plot()).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ValueError, match="an id of its own"):
        result(object_ids=(1, 1, 2))


# Parts of a result, and other forms


def classed() -> ImageResult:
    det = np.array([0.5, np.nan, 1.0], np.float32)
    return result(class_ids=np.array([1, 0, 1]), labels=("dog", "cat", "dog"), det_scores=det)


def test_quality_is_the_product_of_the_scores_that_exist():
    assert classed().quality.tolist() == pytest.approx([0.5 * 0.9 * 0.99, 0.123456, 0.0])


def test_indexing_gives_smaller_results():
    whole = classed()
    assert whole[1].object_ids == (2,)
    assert whole[-1].object_ids == (9,)
    assert whole[1:].labels == ("cat", "dog")
    assert whole[[2, 0]].object_ids == (9, 7)
    dogs = whole[whole.ids("dog")]
    assert dogs.object_ids == (7, 9)
    assert dogs.boxes.tolist() == whole.boxes[[0, 2]].tolist()
    assert dogs.prompts == (whole.prompts[0], None)
    with pytest.raises(IndexError):
        whole[3]


def test_filter_keeps_what_is_good_large_and_of_a_class():
    whole = classed()
    assert whole.filter(min_area=2).object_ids == (7,)
    assert whole.filter(min_iou=0.4).object_ids == (7, 9)
    assert whole.filter(labels=["cat"]).object_ids == (2,)
    assert whole.filter(min_quality=0.1).object_ids == (7, 2)
    assert whole.filter(top=2).object_ids == (7, 2)
    assert len(whole.filter(min_quality=0.99)) == 0


def test_summary_counts_classes():
    assert classed().summary() == "3 objects: 2 dog, 1 cat"


def test_classes_and_scores_survive_the_record():
    again = ImageResult.from_json(classed().to_json())
    assert again.labels == ("dog", "cat", "dog")
    assert again.class_ids.tolist() == [1, 0, 1]
    assert np.isnan(again.det_scores[1])
    assert "NaN" not in classed().to_json()


def test_another_candidate_can_be_chosen():
    candidates = Masks.from_dense(dense_masks()[:2], (HEIGHT, WIDTH))
    several = result(alternatives=(candidates,) * 3)
    chosen = several.choose(0, 1)
    assert chosen.areas.tolist() == [1, 1, 0]
    assert chosen.boxes[0].tolist() == [89, 59, 90, 60]
    with pytest.raises(ValueError, match="multimask=True"):
        result().choose(0, 1)


def test_crops_are_cut_to_the_box():
    transparent, kept = result().crops()[0], result().crops(padding=5, background="keep")[0]
    assert transparent.size == (30, 20)
    assert kept.size == (40, 30)
    alpha = np.asarray(transparent)[..., 3]
    assert (alpha > 0).sum() == 550
    red = np.asarray(result().crops(background=(255, 0, 0))[0])
    assert (red[6, 12] == [255, 0, 0, 255]).all()  # in the hole


def test_coco_reads_back_with_holes_and_right_boxes(tmp_path):
    import json

    from pycocotools.coco import COCO

    path = tmp_path / "coco.json"
    path.write_text(json.dumps(classed().to_coco(image_id=4, first_id=10)))
    read = COCO(str(path))
    for annotation, mask in zip(read.loadAnns([10, 11]), dense_masks(), strict=False):
        assert np.array_equal(Masks([annotation["segmentation"]], (HEIGHT, WIDTH))[0], mask)
        assert annotation["area"] == mask.sum()
    assert read.loadAnns([10])[0]["bbox"] == [20, 10, 30, 20]
    assert [category["name"] for category in read.loadCats([1, 2])] == ["cat", "dog"]


def test_polygons_keep_the_hole():
    rings = result().to_polygons()
    assert [ring.hole for ring in rings[0]] == [False, True]
    assert rings[2] == []


def test_index_pictures_hold_ids_classes_or_single_objects():
    instance, semantic = (np.asarray(classed().to_png(kind)[0]) for kind in ("instance", "semantic"))
    assert set(np.unique(instance)) == {0, 2, 7}
    assert set(np.unique(semantic)) == {0, 1, 2}
    assert len(result().to_png("object")) == 3
    large = result(object_ids=(700, 2, 9))
    assert np.asarray(large.to_png()[0]).max() == 700
    named = result(object_ids=("a", "b", "c"))
    assert np.asarray(named.to_png()[0]).max() == 2
    with pytest.raises(ValueError, match="'panoptic'"):
        result().to_png("panoptic")


def test_forms_that_need_other_libraries_say_which(monkeypatch):
    import sys

    from sam2_hf.errors import MissingExtraError

    for name, verb in (("supervision", "to_supervision"), ("pandas", "to_dataframe")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingExtraError, match=name):
            getattr(result(), verb)()


def test_data_frame_has_a_row_per_object():
    pandas = pytest.importorskip("pandas")
    table = classed().to_dataframe()
    assert isinstance(table, pandas.DataFrame)
    assert table["area"].tolist() == [550, 1, 0]
    assert table["label"].tolist() == ["dog", "cat", "dog"]


def test_another_candidate_has_no_scores_of_the_old_one():
    whole = classed()
    masks = Masks(whole.masks.rle[::-1], whole.size)
    chosen = replace(whole, alternatives=(masks,) * len(whole)).choose(0, 1)
    assert np.isnan(chosen.iou_scores[0]) and np.isnan(chosen.stability[0])
    assert chosen.iou_scores[1:].tolist() == whole.iou_scores[1:].tolist()
    assert chosen.boxes[0].tolist() == masks.boxes()[1].tolist()


def test_one_label_is_a_label_and_not_letters():
    named = replace(classed(), labels=("cat", "a", None))
    assert named.filter(labels="cat").labels == ("cat",)


def test_ids_of_every_kind_are_saved_with_dense_masks(tmp_path):
    named = replace(classed(), object_ids=("a", (1, 2), 3))
    with np.load(named.save(tmp_path / "a.npz")) as saved:
        assert saved["object_ids"].tolist() == ["a", "(1, 2)", "3"]


def test_crops_take_names_of_colours_and_large_ids_fit_a_picture():
    whole = classed()
    crop = whole.crops(background="red")[0]
    assert crop.getpixel((12, 7)) == (255, 0, 0, 255)  # the hole
    assert crop.getpixel((2, 2))[:3] == tuple(whole.pixels()[12, 22])
    large = replace(whole, object_ids=(70000, 2, 3))
    numbers = np.asarray(large.to_png()[0])
    assert [int((numbers == number).sum()) for number in (1, 2, 3)] == whole.areas.tolist()
