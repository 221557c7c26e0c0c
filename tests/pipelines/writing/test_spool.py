"""Frames wait on disk."""

from sam2_hf.pipelines.writing.spool import Spool


def test_spool_gives_frames_in_order_and_the_newest_record_of_each(tmp_path):
    spool = Spool(tmp_path)
    for frame, record in ((5, "five"), (2, ["two"]), (5, {"again": 5}), (0, None)):
        spool.put(frame, record)
    assert list(spool) == [(0, None), (2, ["two"]), (5, {"again": 5})]
    assert (len(spool), spool.frames, spool[2]) == (3, [0, 2, 5], ["two"])
    spool.put(1, "one")  # after reading
    assert spool[1] == "one"
    spool.close()
    assert not list(tmp_path.iterdir())
