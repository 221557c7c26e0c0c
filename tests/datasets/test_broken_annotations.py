"""Annotations that do not fit their pictures, or are no annotations: one error that names file and entry."""

import base64
import io
import json
import math
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from sam2_hf.datasets.clips import ArrayClip
from sam2_hf.datasets.registry import open_dataset
from sam2_hf.errors import SourceError
from sam2_hf.training.build import check_sizes

HEIGHT, WIDTH = 12, 20
BOX = [2, 1, 8, 1, 8, 6, 2, 6]
TRIANGLE = [[1, 6], [4, 6], [4, 10]]
LEFT_COLUMNS = {"size": [HEIGHT, WIDTH], "counts": [0, 24, HEIGHT * WIDTH - 24]}


def picture(path, size=(HEIGHT, WIDTH), orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path, exif=exif)


def coco(root, image=None, annotations=None, **changes):
    """A COCO data set of one picture; None takes a field away."""
    entry = {"id": 7, "file_name": "a.jpg", "height": HEIGHT, "width": WIDTH, **(image or {})}
    one = {"image_id": 7, "category_id": 3, "segmentation": [BOX]}
    data = {
        "images": [{name: value for name, value in entry.items() if value is not None}],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [one] if annotations is None else [{**one, **change} for change in annotations],
        **changes,
    }
    data = {name: value for name, value in data.items() if value is not None}
    root.mkdir(parents=True, exist_ok=True)
    (root / "instances.json").write_text(json.dumps(data))
    return root


def labelme(root, shape=None, **changes):
    one = {"label": "cell", "points": TRIANGLE, "shape_type": "polygon", "group_id": None, **(shape or {})}
    one = {name: value for name, value in one.items() if value is not None}
    data = {"imagePath": "a.jpg", "shapes": [one], "imageHeight": HEIGHT, "imageWidth": WIDTH, **changes}
    root.mkdir(parents=True, exist_ok=True)
    (root / "a.json").write_text(json.dumps({name: value for name, value in data.items() if value is not None}))
    return root


def sa1b(root, **changes):
    one = {"segmentation": LEFT_COLUMNS, "area": 24, **changes}
    root.mkdir(parents=True, exist_ok=True)
    (root / "a.json").write_text(json.dumps({"annotations": [one]}))
    return root


KINDS = {"coco": coco, "labelme": labelme, "sa1b": sa1b}


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_another_size_than_annotated_is_refused_with_both_sizes(tmp_path, kind):
    picture(tmp_path / "a.jpg", (2 * HEIGHT, 2 * WIDTH))
    (clip,) = open_dataset(kind, KINDS[kind](tmp_path))
    message = r"a\.jpg: is 24 x 40 \(height x width\), but (instances|a)\.json annotates 12 x 20; use the picture that"
    with pytest.raises(SourceError, match=message):
        clip.masks(0)


@pytest.mark.parametrize("kind", KINDS)
def test_annotations_made_before_the_picture_was_turned_are_told_apart(tmp_path, kind):
    picture(tmp_path / "a.jpg", (HEIGHT, WIDTH), orientation=6)
    (clip,) = open_dataset(kind, KINDS[kind](tmp_path))
    with pytest.raises(SourceError, match=r"a\.jpg: is 20 x 12 .* annotates 12 x 20: .* EXIF .*annotate the upright"):
        clip.masks(0)
    picture(tmp_path / "a.jpg", (WIDTH, HEIGHT))
    (clip,) = open_dataset(kind, KINDS[kind](tmp_path))
    with pytest.raises(SourceError, match="the sides are swapped"):
        clip.masks(0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_of_another_size_is_found_in_its_header_before_a_run(tmp_path, kind, monkeypatch):
    picture(tmp_path / "a.jpg", (WIDTH, HEIGHT), orientation=6)
    (clip,) = open_dataset(kind, KINDS[kind](tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(clip, "frame", None)  # nothing is decoded
        check_sizes([clip])
    picture(tmp_path / "a.jpg", (HEIGHT, WIDTH), orientation=6)
    with pytest.raises(SourceError, match="EXIF"):
        check_sizes([clip])
    check_sizes([clip], most=0)


def test_a_header_that_is_wrong_does_not_refuse_a_picture(tmp_path):
    """A PNG may say at its end that it is turned; its header is not trusted where it disagrees."""
    root = labelme(tmp_path, imagePath="a.png")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    image = Image.fromarray(np.full((WIDTH, HEIGHT, 3), 90, np.uint8))
    image.save(root / "a.png")
    data = (root / "a.png").read_bytes()
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    length, check = struct.pack(">I", len(chunk) - 4), struct.pack(">I", zlib.crc32(chunk))
    (root / "a.png").write_bytes(data[:-12] + length + chunk + check + data[-12:])
    (clip,) = open_dataset("labelme", root)
    assert list(clip.doubtful_frames()) == [0]
    check_sizes([clip])
    assert clip.masks(0)[1].shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("kind", KINDS)
def test_annotations_of_the_upright_picture_are_taken(tmp_path, kind):
    picture(tmp_path / "a.jpg", (WIDTH, HEIGHT), orientation=6)
    (clip,) = open_dataset(kind, KINDS[kind](tmp_path))
    assert clip.masks(0)[1].shape == clip.size == (HEIGHT, WIDTH)


def test_without_a_size_annotations_are_taken_as_they_are(tmp_path):
    picture(tmp_path / "a.jpg")
    coco(tmp_path / "c", {"height": None, "width": None}), labelme(tmp_path / "l", imageHeight=None, imageWidth=None)
    for kind in ("c", "l"):
        picture(tmp_path / kind / "a.jpg")
    assert open_dataset("coco", tmp_path / "c")[0].masks(0)[1].sum() == 30
    assert open_dataset("labelme", tmp_path / "l")[0].masks(0)[1][7, 4]


def test_run_lengths_of_another_size_than_the_picture_are_refused_before_they_are_decoded(tmp_path):
    picture(tmp_path / "a.jpg")
    huge = {"size": [10**6, 10**6], "counts": [0, 10**12]}
    (clip,) = open_dataset("coco", coco(tmp_path, annotations=[{}, {"segmentation": huge}]))
    with pytest.raises(SourceError, match=r"instances\.json: annotations\[1\]: .*1000000.*\(12, 20\)"):
        clip.masks(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, r"instances\.json: has no 'images', expected a list; fields are categories, annotations"),
        ({"images": {"a": 1}}, r"instances\.json: 'images' is \{.*expected a list"),
        ({"images": ["a.jpg"]}, r"images\[0\]: expected an object .*found \"a\.jpg\""),
        (
            {"image": {"file_name": None}},
            r"images\[0\]: has no 'file_name', expected text; fields are id, height, width",
        ),
        ({"image": {"file_name": 7}}, r"images\[0\]: 'file_name' is 7, expected text"),
        ({"image": {"id": None}}, r"images\[0\]: has no 'id'"),
        ({"image": {"id": [7]}}, r"images\[0\]: 'id' is a list of 1, expected a whole number or text"),
        ({"image": {"id": "7"}}, r"no picture has annotations; `image_id` is 7, ids are \[\"'7'\"\]"),
        ({"image": {"height": "12"}}, r"images\[0\]: 'height' is \"12\", expected a number"),
        ({"image": {"width": None}}, r"images\[0\]: has no 'width'"),
        ({"image": {"height": 0}}, r"images\[0\]: 'height' and 'width' are 0 and 20, expected whole numbers above 0"),
        ({"categories": [{"id": 3}]}, r"categories\[0\]: has no 'name'"),
        ({"categories": 3}, r"'categories' is 3, expected a list"),
        ({"annotations": [{"image_id": None}]}, r"annotations\[0\]: has no 'image_id'"),
        ({"annotations": [{"category_id": {}}]}, r"annotations\[0\]: 'category_id' is \{\}"),
        ({"annotations": [{"segmentation": "all"}]}, r"annotations\[0\]: 'segmentation' is \"all\""),
        ({"annotations": [{"segmentation": {"counts": "0"}}]}, r"annotations\[0\]: a run-length mask has its size"),
        ({"annotations": [{"segmentation": {"size": [0, 5], "counts": []}}]}, r"annotations\[0\]: .* above 0"),
        ({"annotations": [{"segmentation": [[{}] * 6]}]}, r"annotations\[0\]: "),
        ({"annotations": [{"segmentation": [["a"] * 6]}]}, r"annotations\[0\]: "),
        ({"annotations": [{"segmentation": [[1, 2, 3, 4]]}]}, r"annotations\[0\]: .*at least three corners"),
        ({"annotations": [{"segmentation": [[math.nan] * 6]}]}, r"annotations\[0\]: .*reaches nan"),
        ({"annotations": [{"segmentation": {"size": [HEIGHT, WIDTH], "counts": [3]}}]}, r"annotations\[0\]: .*fill 3"),
    ],
)
def test_a_coco_entry_that_cannot_be_meant_is_named(tmp_path, changes, message):
    picture(tmp_path / "a.jpg")
    with pytest.raises(SourceError, match=message):
        open_dataset("coco", coco(tmp_path, **changes))[0].masks(0)


def test_a_coco_file_without_annotations_is_named(tmp_path):
    (tmp_path / "images.json").write_text(json.dumps({"images": []}))
    with pytest.raises(SourceError, match=r"images\.json: has no 'annotations', expected a list; fields are images"):
        open_dataset("coco", tmp_path)


def test_pictures_that_share_an_id_are_refused(tmp_path):
    picture(tmp_path / "a.jpg")
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 7, "file_name": "a.jpg"}]
    with pytest.raises(SourceError, match=r"images\[1\]: another picture has the id 7 too"):
        open_dataset("coco", coco(tmp_path, images=images))


@pytest.mark.parametrize("kind", ["coco", "labelme", "sa1b", "sav"])
def test_a_file_that_holds_a_list_is_named(tmp_path, kind):
    picture(tmp_path / "a.jpg")
    (tmp_path / "a.json").write_text("[1, 2]")
    (tmp_path / "v.mp4").touch()
    (tmp_path / "v_manual.json").write_text("[1, 2]")
    if kind != "sav":
        (tmp_path / "v_manual.json").unlink()
    with pytest.raises(SourceError, match=r"\.json: expected an object \{\.\.\.\}, found a list of 2"):
        open_dataset(kind, tmp_path)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_coco_picture_outside_of_the_root_is_refused(tmp_path, absolute):
    picture(tmp_path / "secret.jpg")
    name = str(tmp_path / "secret.jpg") if absolute else "../secret.jpg"
    with pytest.raises(SourceError, match=r"images\[0\]: 'file_name' .*secret\.jpg' leads out of .*root"):
        open_dataset("coco", coco(tmp_path / "root", {"file_name": name}))


def test_a_coco_picture_in_a_linked_folder_is_read(tmp_path):
    picture(tmp_path / "disk" / "a.jpg")
    root = coco(tmp_path / "root")
    (root / "images").symlink_to(tmp_path / "disk")
    assert open_dataset("coco", root)[0].size == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"points": []}, "a polygon has at least 3 points, this one has 0"),
        ({"points": [[1, 2]]}, "a polygon has at least 3 points, this one has 1"),
        ({"points": [[1, 2]], "shape_type": "rectangle"}, "a rectangle has 2 points, this one has 1"),
        ({"points": [], "shape_type": "circle"}, "a circle has 2 points, this one has 0"),
        ({"points": [], "shape_type": "mask"}, "a mask has 1 or 2 points, this one has 0"),
        ({"points": [[1, 2]], "shape_type": "mask"}, "has no 'mask', expected text"),
        ({"points": [[1, 2]], "shape_type": "mask", "mask": "a"}, "its mask is not base64"),
        ({"points": [[1, 2]], "shape_type": "mask", "mask": "aaaa"}, "mask: not a readable picture"),
        ({"points": None}, "has no 'points', expected a list"),
        ({"points": [[1], [2], [3]]}, r"a point is \[x, y\] in pixels, found \[1\]"),
        ({"points": [["1", "2"]] * 3}, r"a point is \[x, y\] in pixels"),
        ({"points": [[math.nan, 2]] * 3}, r"a point is \[x, y\] in pixels"),
        ({"points": [[1, 1], [1e9, 2]], "shape_type": "circle"}, r".*lies at 1e\+09"),
        ({"label": None}, "has no 'label', expected text"),
        ({"label": 5}, "'label' is 5, expected text"),
        ({"group_id": [1]}, "'group_id' is a list of 1"),
        ({"shape_type": 5}, "'shape_type' is 5"),
    ],
)
def test_a_labelme_shape_that_cannot_be_meant_is_named(tmp_path, shape, message):
    picture(tmp_path / "a.jpg")
    with pytest.raises(SourceError, match=rf"a\.json: shapes\[0\]: {message}"):
        open_dataset("labelme", labelme(tmp_path, shape))[0].masks(0)


def test_a_labelme_file_without_its_shapes_or_picture_is_named(tmp_path):
    picture(tmp_path / "a.jpg")
    with pytest.raises(SourceError, match=r"a\.json: has no 'shapes'"):
        open_dataset("labelme", labelme(tmp_path, shapes=None))
    with pytest.raises(SourceError, match=r"a\.json: has no 'imagePath'"):
        open_dataset("labelme", labelme(tmp_path, imagePath=None))
    with pytest.raises(SourceError, match=r"named in a\.json, but there is no such file"):
        open_dataset("labelme", labelme(tmp_path, imagePath=".."))


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_a_labelme_mask_is_what_is_not_zero(tmp_path, mode):
    picture(tmp_path / "a.jpg")
    inside = Image.new(mode, (3, 2))
    inside.putpixel((2, 1), 1)
    if mode == "P":
        inside.putpalette([0] * 768)
    file = io.BytesIO()
    inside.save(file, "PNG")
    shape = {"shape_type": "mask", "points": [[4, 5], [6, 6]], "mask": base64.b64encode(file.getvalue()).decode()}
    (clip,) = open_dataset("labelme", labelme(tmp_path, shape))
    assert np.argwhere(clip.masks(0)[1]).tolist() == [[6, 6]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"segmentation": {"size": [0, 0], "counts": []}}, r"above 0 and counts, found a list of 2"),
        ({"segmentation": {"size": [HEIGHT], "counts": []}}, r"above 0 and counts"),
        ({"segmentation": {"size": [HEIGHT, WIDTH]}}, r"above 0 and counts"),
        ({"segmentation": [BOX]}, r"'segmentation' is a list of 1, expected run lengths"),
        ({"segmentation": None}, r"has no 'segmentation'"),
        ({"area": None}, r"has no 'area'"),
        ({"area": "24"}, r"'area' is \"24\", expected a number"),
        ({"area": math.inf}, r"'area' is inf, expected a finite number"),
    ],
)
def test_an_sa1b_mask_that_cannot_be_meant_is_named(tmp_path, changes, message):
    picture(tmp_path / "a.jpg")
    with pytest.raises(SourceError, match=rf"a\.json: annotations\[0\]: .*{message}"):
        open_dataset("sa1b", sa1b(tmp_path, **changes))


def video(path, size=(16, 32), frames=5):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width = size
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 20 * number, np.uint8))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("masklet", "message"),
    [
        (None, "has no 'masklet'"),
        ([3], r"masklet\[0\] is 3, expected a list"),
        ([[{"size": [16, 32], "counts": [5]}]], r"masklet\[0\]\[0\]: .*fill 5 of 512"),
        ([["x"]], r"masklet\[0\]\[0\]: a run-length mask has its size"),
        (
            [[{"size": [8, 16], "counts": [128]}]],
            r"masklet\[0\]\[0\]: .*\(8, 16\), the frames of v\.mp4 are \(16, 32\)",
        ),
    ],
)
def test_a_masklet_that_cannot_be_meant_is_named(tmp_path, masklet, message):
    video(tmp_path / "v.mp4")
    (tmp_path / "v_manual.json").write_text(json.dumps({} if masklet is None else {"masklet": masklet}))
    with pytest.raises(SourceError, match=rf"v_manual\.json: {message}"):
        open_dataset("sav", tmp_path)[0].masks(0)


def test_masklets_beyond_the_end_of_the_video_are_named(tmp_path):
    video(tmp_path / "v.mp4", frames=5)
    whole = {"size": [16, 32], "counts": [0, 512]}
    (tmp_path / "v_manual.json").write_text(json.dumps({"masklet": [[whole]] * 3}))
    (clip,) = open_dataset("sav", tmp_path)
    with pytest.raises(SourceError, match=r"v\.mp4: has 5 frames, but v_manual\.json annotates 8"):
        clip.frame(2)


def test_a_mask_of_another_size_than_the_row_of_a_table_is_refused():
    clip = ArrayClip("row 3", [np.zeros((HEIGHT, WIDTH, 3), np.uint8)], [{1: np.ones((HEIGHT, WIDTH + 1), bool)}])
    with pytest.raises(SourceError, match=r"row 3: a mask is \(height, width\) \(12, 21\), the frames are \(12, 20\)"):
        clip.masks(0)
