"""Pictures from every kind of source: what is listed, in which order, and what fails alone."""

import io
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sam2_hf.errors import DecodeError, MissingExtraError, PromptError, SourceError
from sam2_hf.pipelines.reading import downloads
from sam2_hf.pipelines.reading.picture_items import PICTURE_SUFFIXES
from sam2_hf.pipelines.reading.read_ahead import read_ahead
from sam2_hf.pipelines.reading.sources import SourceOptions, pictures_from
from tests.tiny import scene, scene_image

SIZE = (30, 45)
NUM_FRAMES = 9


def put(path: Path, seed: int = 0) -> Path:
    """Writes a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scene_image(*SIZE, seed=seed).save(path)
    return path


def png(seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    scene_image(*SIZE, seed=seed).save(buffer, format="PNG")
    return buffer.getvalue()


def keys(*sources, **options) -> list[str]:
    return [item.key for item in pictures_from([str(source) for source in sources], SourceOptions(**options))]


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(downloads.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def web(cache):
    """A server of bytes by path, with entity tags; `.requests` tells what was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            data = self.server.files.get(self.path)
            self.server.requests.append(self.path)
            tag = f'"{hash(data)}"'
            status = 404 if data is None else 304 if self.headers.get("If-None-Match") == tag else 200
            body = data if status == 200 else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if data is not None:
                self.send_header("ETag", tag)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.requests = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Frames of one brightness each, 20 more than the one before."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(NUM_FRAMES):
            pixels = np.full((48, 64, 3), 20 + 20 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


# Files, folders, globs


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
def test_every_suffix_of_pictures_is_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    image = scene_image(*SIZE).convert("L") if suffix == ".pgm" else scene_image(*SIZE)
    image.save(path)
    pictures = pictures_from([str(path)])
    assert pictures.length == 1
    assert [item.open().size for item in pictures] == [SIZE[::-1]]


def test_folder_is_in_natural_order_without_hidden_files_and_recursive_on_request(tmp_path):
    for name in ("10.png", "2.png", "1/20.png", "1/3.JPG", ".hidden.png", ".git/5.png"):
        put(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    assert keys(tmp_path) == ["2.png", "10.png"]
    assert keys(tmp_path, recursive=True) == ["1/3.JPG", "1/20.png", "2.png", "10.png"]


def test_glob_mirrors_the_tree_below_its_fixed_part(tmp_path):
    for name in ("set/a/2.png", "set/a/10.png", "set/b/1.png"):
        put(tmp_path / name)
    (tmp_path / "set" / "notes.txt").write_text("no picture")
    assert keys(tmp_path / "set" / "**" / "*") == ["a/2.png", "a/10.png", "b/1.png"]
    assert keys(tmp_path / "set" / "a" / "*.png") == ["2.png", "10.png"]


def test_picture_that_is_named_twice_comes_once(tmp_path):
    put(tmp_path / "a.png")
    assert keys(tmp_path, tmp_path / "a.png", tmp_path / "*.png") == ["a.png"]


def test_pictures_of_one_name_in_two_folders_get_the_folder_in_front(tmp_path):
    for name in ("x/1.png", "y/1.png", "y/2.png", "z/3.png"):
        put(tmp_path / name)
    assert keys(tmp_path / "x", tmp_path / "y", tmp_path / "z") == ["x/1.png", "y/1.png", "y/2.png", "3.png"]
    assert keys(tmp_path / "x" / "1.png", tmp_path / "y" / "1.png") == ["x/1.png", "y/1.png"]


def test_source_without_a_picture_says_so(tmp_path):
    (tmp_path / "sub").mkdir()
    put(tmp_path / "sub" / "a.png")
    with pytest.raises(SourceError, match="--recursive"):
        pictures_from([str(tmp_path)])
    for name in ("missing.png", "*.png", "sub/*.jpg"):
        with pytest.raises(SourceError, match=r"no picture found"):
            pictures_from([str(tmp_path / name)])


def test_corrupt_file_fails_when_it_is_opened_and_alone(tmp_path):
    put(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(png()[:200])
    first, second = pictures_from([str(tmp_path)])
    assert first.open().size == SIZE[::-1]
    with pytest.raises(DecodeError, match=r"b\.png: not a readable picture"):
        second.open()


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animation_gives_its_first_frame_with_a_warning(tmp_path, suffix):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    (item,) = pictures_from([str(path)])
    with pytest.warns(UserWarning, match="several frames"):
        picture = item.open()
    red, _, blue = picture.convert("RGB").getpixel((5, 5))
    assert red > 200 > 50 > blue


def test_turned_photograph_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    scene_image(*SIZE).save(tmp_path / "a.jpg", exif=exif)
    (item,) = pictures_from([str(tmp_path / "a.jpg")])
    assert item.open().size == SIZE


# Lists


def test_list_has_one_path_per_line_and_a_missing_one_fails_alone(tmp_path):
    put(tmp_path / "in" / "b.png")
    put(tmp_path / "in" / "sub" / "a.png")
    (tmp_path / "in" / "list.txt").write_text("b.png\n\nmissing.png\nsub/a.png\n")
    items = list(pictures_from([str(tmp_path / "in" / "list.txt")]))
    assert [item.key for item in items] == ["b.png", "missing.png", "sub/a.png"]
    assert items[2].open().size == SIZE[::-1]
    with pytest.raises(SourceError, match=r"missing\.png: no such picture file"):
        items[1].open()


def test_paths_of_a_list_may_start_at_the_working_directory_or_be_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "in" / "a.png")
    put(tmp_path / "in" / "deep" / "b.png")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.txt").write_text(f"in/a.png\n{tmp_path}/in/deep/b.png\n")
    assert keys("lists/list.txt") == ["a.png", "deep/b.png"]


def test_empty_list_is_an_error(tmp_path):
    for name in ("list.txt", "list.csv"):
        (tmp_path / name).write_text("\n")
        with pytest.raises(SourceError, match="names no picture"):
            pictures_from([str(tmp_path / name)])


def test_table_brings_boxes_and_labels(tmp_path):
    rows = ("path,x0,y0,x1,y1,label", "a.png,1,2,30.5,20,cat", "b.png,,,,,dog", "a.png,3,4,9,9,dog", '"c, d.png"')
    (tmp_path / "list.csv").write_text("\n".join(rows))
    pictures = pictures_from([str(tmp_path / "list.csv")])
    a, b, c = pictures
    assert (a.key, a.boxes, a.labels) == ("a.png", ((1, 2, 30.5, 20), (3, 4, 9, 9)), ("cat", "dog"))
    assert (b.key, b.boxes, b.labels) == ("b.png", (), ("dog",))
    assert (c.key, c.boxes, c.labels) == ("c, d.png", (), ())
    assert pictures.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("a.png,1,2,3", "row 1: has 4 columns"),
        ("a.png,1,2,three,4", "is no box"),
        ("a.png,30,2,3,40", "has no area"),
        ("a.png,1,2,nan,40", "has no area"),
        ("a.png,cat\na.png,1,2,3,4", "with and without a box"),
    ],
)
def test_row_that_cannot_be_meant_is_named(tmp_path, row, complaint):
    (tmp_path / "list.csv").write_text(row)
    with pytest.raises(PromptError, match=complaint):
        pictures_from([str(tmp_path / "list.csv")])


def test_list_comes_from_standard_input(tmp_path, monkeypatch):
    put(tmp_path / "a.png")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{tmp_path}/a.png\n"))
    assert keys("-") == ["a.png"]


# Addresses


def test_address_is_fetched_when_it_is_opened_and_again_only_if_it_changed(web, cache):
    web.files["/photos/a%20b.png?x=1"] = png(seed=1)
    pictures = pictures_from([f"{web.url}/photos/a%20b.png?x=1"])
    (item,) = pictures
    assert (pictures.length, item.key, web.requests) == (1, "a b.png", [])
    assert np.array_equal(np.asarray(item.open()), scene(*SIZE, seed=1))
    assert np.array_equal(np.asarray(item.open()), scene(*SIZE, seed=1))
    assert len(web.requests) == 2
    web.files["/photos/a%20b.png?x=1"] = png(seed=2)
    assert np.array_equal(np.asarray(item.open()), scene(*SIZE, seed=2))
    assert not list(cache.glob("*.part"))
    web.files.clear()
    (kept,) = pictures_from([item.source], SourceOptions(offline=True))
    assert np.array_equal(np.asarray(kept.open()), scene(*SIZE, seed=2))


def test_address_without_a_picture_fails_alone(web, monkeypatch):
    web.files |= {"/bad.png": b"no picture", "/large.png": png() + bytes(4000)}
    with pytest.raises(SourceError, match="answered 404"):
        next(iter(pictures_from([f"{web.url}/none.png"]))).open()
    with pytest.raises(DecodeError, match=r"http.*/bad\.png: not a readable picture"):
        next(iter(pictures_from([f"{web.url}/bad.png"]))).open()
    with pytest.raises(SourceError, match="larger than 3000 bytes"):
        downloads.download(f"{web.url}/large.png", max_bytes=3000)
    with pytest.raises(SourceError, match="not in the cache"):
        downloads.download(f"{web.url}/other.png", offline=True)
    with pytest.raises(SourceError, match="no answer"):
        downloads.download("http://127.0.0.1:9/a.png")


def test_addresses_of_a_list_are_mirrored_with_their_host(web, tmp_path):
    (tmp_path / "list.txt").write_text(f"{web.url}/x/1.png\n{web.url}/y/1.png\n")
    assert keys(tmp_path / "list.txt") == ["127.0.0.1/x/1.png", "127.0.0.1/y/1.png"]


def test_video_behind_an_address_streams_in(web, clip):
    web.files["/clip.mp4"] = clip.read_bytes()
    pictures = pictures_from([f"{web.url}/clip.mp4"], SourceOptions(stride=4))
    assert (pictures.length, web.requests) == (None, [])
    items = list(pictures)
    assert [item.key for item in items] == ["clip.mp4#000000", "clip.mp4#000004", "clip.mp4#000008"]
    assert items[1].source == f"{web.url}/clip.mp4#000004"


# Archives


def put_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_archive_gives_one_picture_per_name_and_a_bad_member_fails_alone(tmp_path):
    members = {"d/a.png": png(1), "d/a.seg.png": png(2), "d/a.json": b"{}", "b.png": png()[:100], "../c.JPG": png(3)}
    pictures = pictures_from([str(put_tar(tmp_path / "shard.tar", members))])
    items = list(pictures)
    assert [item.key for item in items] == ["d/a", "b", "c"]
    assert np.array_equal(np.asarray(items[0].open()), scene(*SIZE, seed=1))
    with pytest.raises(DecodeError, match=r"shard\.tar!b\.png"):
        items[1].open()
    assert items[2].open().size == SIZE[::-1]


def test_members_with_dots_in_their_names_are_pictures_of_their_own(tmp_path):
    """But for parts of a sample, which are named by a word after the first dot."""
    names = ["2024.01.02.png", "2024.01.03.png", "2024.png", "x/v1.2-final.PNG", "b.depth.png", "b.png", "c.left.png"]
    path = put_tar(tmp_path / "days.tar", {name: png() for name in (*names, ".hidden.png", "b.txt")})
    assert keys(path) == ["2024.01.02", "2024.01.03", "2024", "x/v1.2-final", "b", "c.left"]


def test_members_whose_paths_mean_one_file_below_the_output_are_all_kept(tmp_path):
    members = {"../a.png": png(1), "a.png": png(2), "/a.png": png(3), "a-2.png": png(4)}
    items = list(pictures_from([str(put_tar(tmp_path / "shard.tar", members))]))
    assert [item.key for item in items] == ["a", "a-2", "a-3", "a-2-2"]
    for number, item in enumerate(items, 1):
        assert np.array_equal(np.asarray(item.open()), scene(*SIZE, seed=number))


def broken_tar(path: Path, how: str) -> Path:
    """An archive that is none, or one with a header of 10 TB: of a picture, or of a name."""
    path.write_bytes(b"no archive")
    if how != "no archive":
        header = tarfile.TarInfo("huge.png" if how == "picture" else "././@LongLink")
        header.size, header.type = 10**13, tarfile.REGTYPE if how == "picture" else tarfile.GNUTYPE_LONGNAME
        path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + png().ljust(4096, b"\0"))
    return path


@pytest.mark.parametrize("how", ["no archive", "picture", "name"])
@pytest.mark.parametrize("given", ["several", "glob", "braces"])
def test_a_broken_archive_of_several_sources_fails_alone(tmp_path, how, given):
    good, broken = put_tar(tmp_path / "s1.tar", {"a.png": png(1)}), broken_tar(tmp_path / "s2.tar", how)
    last = put_tar(tmp_path / "s3.tar", {"c.png": png(3)})
    sources = {"several": [good, broken, last], "glob": [tmp_path / "*.tar"], "braces": [tmp_path / "s{1..3}.tar"]}
    first, *failing, third = pictures_from([str(source) for source in sources[given]])
    assert first.open().size == third.open().size == SIZE[::-1]
    assert failing
    for item in failing:
        with pytest.raises(DecodeError, match=r"s2\.tar"):
            item.open()


def test_a_broken_archive_behind_an_address_fails_alone_and_is_named_by_it(web, tmp_path):
    web.files["/d/bad.tar"] = b"no archive"
    good = put_tar(tmp_path / "good.tar", {"a.png": png()})
    bad, last = pictures_from([f"{web.url}/d/bad.tar", str(good)], SourceOptions())
    with pytest.raises(DecodeError, match=r"http://127\.0\.0\.1:\d+/d/bad\.tar: not a readable tar"):
        bad.open()
    assert last.open().size == SIZE[::-1]
    with pytest.raises(DecodeError, match=r"/d/bad\.tar: not a readable tar"):
        list(pictures_from([f"{web.url}/d/bad.tar"], SourceOptions()))


def test_members_of_one_name_in_two_archives_behind_addresses_are_told_apart(web, tmp_path):
    for number in (1, 2):
        members = {"a.png": png(number), "b.png": png()[:100]}
        web.files[f"/d/shard-{number}.tar"] = put_tar(tmp_path / "shard.tar", members).read_bytes()
    items = list(pictures_from([f"{web.url}/d/shard-{number}.tar" for number in (1, 2)], SourceOptions()))
    assert [item.key for item in items] == [
        f"127.0.0.1/d/shard-{number}/{name}" for number in (1, 2) for name in ("a", "b")
    ]
    assert [item.source for item in items[:2]] == [f"{web.url}/d/shard-1.tar!{name}.png" for name in ("a", "b")]
    assert np.array_equal(np.asarray(items[2].open()), scene(*SIZE, seed=2))
    with pytest.raises(DecodeError, match=r"http://127\.0\.0\.1:\d+/d/shard-2\.tar!b\.png"):
        items[3].open()
    (alone, _) = pictures_from([f"{web.url}/d/shard-1.tar"], SourceOptions())
    assert alone.key == "a"


def test_numbered_archives_are_one_source_each(tmp_path):
    for number in range(9, 11):
        put_tar(tmp_path / f"shard-{number:03d}.tar", {f"{number}.png": png()})
    assert keys(tmp_path / "shard-{009..010}.tar") == ["9", "10"]
    put_tar(tmp_path / "shard-010.tar", {"9.png": png()})
    assert keys(tmp_path / "shard-{009..010}.tar") == ["shard-009/9", "shard-010/9"]
    with pytest.raises(SourceError, match=r"shard-011\.tar: no such file"):
        pictures_from([str(tmp_path / "shard-{009..011}.tar")])


def test_archive_that_is_cut_off_gives_what_is_there_and_one_failure(tmp_path):
    path = put_tar(tmp_path / "shard.tar", {"a.png": png(), "b.png": png()})
    path.write_bytes(path.read_bytes()[: 512 * 3 + 100 + len(png())])
    *_, last = pictures_from([str(path)])
    with pytest.raises(DecodeError):
        last.open()
    path.write_bytes(b"no archive")
    with pytest.raises(DecodeError, match="not a readable tar archive"):
        pictures_from([str(path)])


# Videos


def test_frames_of_a_video_are_pictures_of_their_own(clip):
    pictures = pictures_from([str(clip)], SourceOptions(start=2, end=8, stride=2))
    items = list(pictures)
    assert pictures.length == 3
    assert [item.key for item in items] == ["clip.mp4#000002", "clip.mp4#000004", "clip.mp4#000006"]
    assert [item.source for item in items] == [f"{clip}#{index:06d}" for index in (2, 4, 6)]
    for item, index in zip(items, (2, 4, 6), strict=True):
        assert abs(np.asarray(item.open()).mean() - (20 + 20 * index)) < 3
    assert len(list(pictures_from([str(clip)]))) == NUM_FRAMES
    with pytest.raises(SourceError, match="the video has 9"):
        pictures_from([str(clip)], SourceOptions(start=9))
    with pytest.raises(ValueError, match="span of frames"):
        SourceOptions(start=3, end=3)


# Data sets


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path_factory.mktemp("data") / "flowers"
    rows = {"id": [1, 2, 3], "photo": [{"bytes": data, "path": None} for data in (png(0), b"bad", png(2))]}
    features = datasets.Features({"id": datasets.Value("int64"), "photo": datasets.Image()})
    folder.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(folder / "train-00000.parquet"))
    return folder


def test_data_set_streams_rows_and_a_bad_one_fails_alone(dataset):
    pictures = pictures_from([f"hub:{dataset}:train:photo"])
    assert pictures.length is None
    items = list(pictures)
    assert [item.key for item in items] == [f"flowers/train/{index:06d}" for index in range(3)]
    assert items[2].source == f"hub:{dataset}:train#2"
    assert np.array_equal(np.asarray(items[2].open()), scene(*SIZE, seed=2))
    with pytest.raises(DecodeError, match="train#1"):
        items[1].open()
    assert keys(f"hub:{dataset}") == [item.key for item in items]


def test_data_set_that_is_not_there_says_what_is(dataset, monkeypatch):
    with pytest.raises(SourceError, match="no column of pictures id; there are id, photo"):
        list(pictures_from([f"hub:{dataset}:train:id"]))
    with pytest.raises(SourceError, match="cannot be opened as a data set"):
        list(pictures_from([f"hub:{dataset}:other"]))
    with pytest.raises(SourceError, match="write hub:user/name"):
        list(pictures_from(["hub:"]))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"sam2_hf\[data\]"):
        list(pictures_from([f"hub:{dataset}"]))


# Reading ahead, and the sheet


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_reading_ahead_keeps_the_order_and_hands_on_errors(tmp_path, clip, workers):
    for number in range(6):
        put(tmp_path / f"{number}.png", seed=number)
    (tmp_path / "3.png").write_bytes(b"bad")
    pairs = list(read_ahead(pictures_from([str(tmp_path), str(clip)]), workers))
    assert [item.key for item, _ in pairs][:6] == [f"{number}.png" for number in range(6)]
    assert [number for number, (_, picture) in enumerate(pairs) if isinstance(picture, DecodeError)] == [3]
    assert np.array_equal(np.asarray(pairs[5][1]), scene(*SIZE, seed=5))
    means = [np.asarray(picture).mean() for _, picture in pairs[6:]]
    assert means == sorted(means) and len(means) == NUM_FRAMES


def test_reading_ahead_is_bounded(tmp_path):
    for number in range(20):
        put(tmp_path / f"{number}.png")
    asked = []

    def counted():
        for item in pictures_from([str(tmp_path)]):
            asked.append(item.key)
            yield item

    ahead = read_ahead(counted(), workers=2)
    next(ahead)
    assert len(asked) == 3
    ahead.close()


@pytest.mark.parametrize("first", ["path", "file", "Filename", "file_name", "image", "picture"])
def test_table_may_begin_with_a_header_of_usual_names(tmp_path, first):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text(f"{first},x0,y0,x1,y1,label\na.png,1,2,30,20,cup\n")
    (item,) = pictures_from([str(tmp_path / "list.csv")])
    assert (item.boxes, item.labels) == (((1.0, 2.0, 30.0, 20.0),), ("cup",))


def test_header_that_cannot_be_meant_is_called_a_header(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("photo,x0,y0,x1,y1\na.png,1,2,30,20\n")
    with pytest.raises(
        PromptError, match=r"row 1: 'x0,y0,x1,y1' is no box .*; a header begins with path, file, .* or picture"
    ):
        pictures_from([str(path)])
    path.write_text("file,label,x0,y0,x1,y1\na.png,cup,1,2,30,20\n")
    with pytest.raises(PromptError, match=r"row 1: has the columns file,label,x0.*their order must be path\[,x0"):
        pictures_from([str(path)])
