"""What a model says of itself when it is uploaded, through the library's calls and a Hub on this machine."""

import re
import sys

import pytest
import yaml
from PIL import Image

from sam2_hf import EMBEDDED_CHECKPOINT, Sam2Config
from sam2_hf.modeling.model_card import converted_card, origin_of, uploaded_card
from tests.hub_server import HubServer, run
from tests.tiny import micro_config, micro_model

UPLOAD = """
import sys
from sam2_hf import Sam2Model

model = Sam2Model.from_pretrained(sys.argv[1])
model.push_to_hub("me/pushed")
model.save_pretrained(sys.argv[2], push_to_hub=True, repo_id="me/saved")
model.save_pretrained(sys.argv[3], push_to_hub=True, repo_id="me/own")
model.push_to_hub("me/had-one")
"""


def facts_of(card: str) -> dict:
    return yaml.safe_load(card.split("---")[1])


def snippet_of(card: str) -> str:
    return re.search(r"```python\n(.*?)```", card, flags=re.DOTALL)[1]


@pytest.mark.parametrize(
    ("source", "base", "licence"),
    [
        ("facebook/sam2.1-hiera-base-plus", "facebook/sam2.1-hiera-base-plus", "apache-2.0"),
        ("facebook/sam2-hiera-tiny", "facebook/sam2-hiera-tiny", "apache-2.0"),
        ("somebody/sam2-cells", "somebody/sam2-cells", None),
        ("facebook/detr-resnet-50", "facebook/detr-resnet-50", None),
        ("", None, None),
        (str(EMBEDDED_CHECKPOINT), None, "apache-2.0"),
    ],
)
def test_base_and_licence_are_told_where_they_are_known(source, base, licence):
    assert origin_of(source) == (base, licence)
    facts = facts_of(uploaded_card(micro_config(), "me/mine", source, ["cells"]))
    assert facts.get("base_model") == base and facts.get("license") == licence
    assert facts["pipeline_tag"] == "mask-generation" and facts["library_name"] == "transformers"
    assert {"sam2_hf", "sam2", "cells"} <= set(facts["tags"])


def test_folder_says_its_base_and_licence_in_its_card(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\nbase_model: a/b\ntags: []\n---\n# x\nlicense: no\n")
    assert origin_of(str(tmp_path)) == ("a/b", "mit")
    (tmp_path / "README.md").write_text("# no front matter\nlicense: mit\n")
    assert origin_of(str(tmp_path)) == (None, None)


def test_card_names_what_it_is_of():
    assert "# SAM 2.1 tiny\n" in uploaded_card(Sam2Config.tiny(), "me/mine", "")
    assert "# SAM 2.0 large\n" in converted_card(Sam2Config.large("2.0"), "sam2_hiera_large.pt")
    card = uploaded_card(micro_config(image_only=True), "me/mine", "")
    assert (
        "# SAM 2 custom size\n" in card and "pictures only" in card and "licence of these weights is not known" in card
    )


@pytest.mark.slow  # two processes, each with its imports
def test_uploads_have_a_card_whose_lines_run(tmp_path):
    folder, own = tmp_path / "model", tmp_path / "own"
    micro_model(image_size=64).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    own.mkdir()
    (own / "README.md").write_text("# mine")
    with HubServer() as hub:
        hub.repositories["me/had-one"] = {"README.md": b"---\ntags: []\n---\n# had one"}
        run([sys.executable, "-c", UPLOAD, folder, tmp_path / "saved", own], hub, tmp_path / "home")
        for name in ("me/pushed", "me/saved"):
            card = hub.repositories[name]["README.md"].decode()
            facts = facts_of(card)
            assert facts["license"] == "mit" and facts["pipeline_tag"] == "mask-generation"
            assert f'from_pretrained("{name}")' in card and "More Information Needed" not in card
        assert (tmp_path / "saved" / "README.md").read_text() == hub.repositories["me/saved"]["README.md"].decode()
        assert hub.repositories["me/own"]["README.md"] == b"# mine" == (own / "README.md").read_bytes()
        assert "# had one" in hub.repositories["me/had-one"]["README.md"].decode()
        load = (
            "import sam2_hf, sys\nprint(sam2_hf.load('me/pushed', offline=len(sys.argv) > 1)[1].image_processor.size)"
        )
        shown = run([sys.executable, "-c", load], hub, tmp_path / "home")
        assert "64" in shown and run([sys.executable, "-c", load, "offline"], hub, tmp_path / "home") == shown
        Image.new("RGB", (600, 400)).save(tmp_path / "photo.jpg")
        run([sys.executable, "-c", snippet_of(card) + "\nassert len(masks) == 1"], hub, tmp_path / "home")
