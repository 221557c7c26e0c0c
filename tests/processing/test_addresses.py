"""What a server may do to us: send too much, or send us elsewhere."""

import io
import os
import subprocess
import sys
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sam2_hf.errors import SourceError
from sam2_hf.processing import addresses, pixels
from sam2_hf.processing.pixels import open_picture
from tests.tiny import scene_image


@pytest.fixture(scope="module")
def server():
    picture = io.BytesIO()
    scene_image(30, 40).save(picture, format="PNG")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            here = f"http://127.0.0.1:{self.server.server_port}"
            elsewhere = {"/away.png": f"{here}/a.png", "/near.png": "a.png", "/file.png": "file:///etc/passwd"}
            target = "/loop.png" if self.path == "/loop.png" else elsewhere.get(self.path)
            body = b"" if target else picture.getvalue()
            self.send_response(302 if target else 200)
            if target:
                self.send_header("Location", target)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://localhost:{served.server_port}"
    served.shutdown()
    served.server_close()


def test_redirects_are_followed(server):
    for name in ("a.png", "near.png", "away.png"):
        assert open_picture(f"{server}/{name}").size == (40, 30)


def test_redirect_into_the_local_network_is_refused(server, monkeypatch):
    monkeypatch.setattr(addresses, "_is_local", lambda url: "127.0.0.1" in url)  # as if localhost were elsewhere
    assert open_picture(f"{server}/a.png").size == (40, 30)
    with pytest.raises(SourceError, match=r"away\.png: leads into the local network \(http://127"):
        open_picture(f"{server}/away.png")


def test_redirects_without_end_or_to_files_are_refused(server):
    with pytest.raises(SourceError, match="more than 5 times"):
        open_picture(f"{server}/loop.png")
    with pytest.raises(SourceError, match="leads to 'file:///etc/passwd', which is no web address"):
        open_picture(f"{server}/file.png")


def test_more_than_the_limit_is_refused(server, monkeypatch):
    monkeypatch.setattr(pixels, "MAX_PICTURE_BYTES", 100)
    with pytest.raises(SourceError, match=r"a\.png: is larger than 100 bytes"):
        open_picture(f"{server}/a.png")


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://127.0.0.1/a", True),
        ("http://10.1.2.3/a", True),
        ("http://192.168.1.1:8080/a", True),
        ("http://169.254.169.254/latest", True),
        ("http://[::1]/a", True),
        ("http://8.8.8.8/a", False),
        ("http://[::1/a", False),
    ],
)
def test_addresses_of_the_local_network_are_known(url, is_local):
    assert addresses._is_local(url) == is_local


def test_nothing_is_asked_where_the_hub_is_switched_off(server):
    """The error of the library is one of the system, which ends a run over many pictures."""
    code = f"""
        from sam2_hf.errors import SourceError
        from sam2_hf.processing.pixels import open_picture
        try:
            open_picture("{server}/a.png")
        except SourceError as error:
            print(error)
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )
    assert "because HF_HUB_OFFLINE is set; unset it, or pass a file" in told.stdout, told.stderr
