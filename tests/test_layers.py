"""Data walks one way: no module imports from a layer above its own, and each room imports only what it may."""

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "sam2_hf"

LAYERS = {
    "errors": 0,
    "shapes": 0,
    "assets": 0,
    "disk": 0,
    "modeling": 1,
    "processing": 1,
    "checkpoints": 2,
    "tracking": 2,
    "datasets": 2,
    "export": 3,
    "pipelines": 3,
    "training": 3,
    "evaluation": 4,
    "runs": 5,
    "annotation": 6,
    "cli": 7,
    "_space": 7,
    "conversion": 8,
    "__main__": 8,
}
# Rooms of one layer do not know each other, except that the disk has errors of ours and that both of layer 1 may read
# the configuration.
ALLOWED_NEIGHBOURS = {
    ("disk", "sam2_hf.errors"),
    ("processing", "sam2_hf.modeling.configuration"),
}
# The library's API begins a video with `processor.init_video_session`: the one call from a room into one above it.
UPWARD_SEAM = ("processor.py", "sam2_hf.tracking.library.LibrarySession")
THIRD_PARTY = {
    "errors": set(),
    "shapes": set(),
    "assets": set(),
    "disk": set(),
    "modeling": {"torch", "transformers", "huggingface_hub"},
    "processing": {"torch", "transformers", "huggingface_hub", "numpy", "PIL", "scipy", "av", "pycocotools"},
    "checkpoints": {"torch", "transformers", "huggingface_hub", "safetensors"},
    "tracking": {"torch", "numpy", "safetensors", "transformers"},
    "datasets": {"numpy", "PIL", "datasets"},
    "export": {"torch", "onnxruntime"},
    "training": {"torch", "transformers", "numpy", "PIL", "scipy", "pycocotools", "accelerate", "peft"},
    "pipelines": {"torch", "transformers", "huggingface_hub", "safetensors", "numpy", "PIL", "pycocotools", "av"}
    | {"supervision", "pandas", "datasets"},  # inside functions
    "evaluation": {"torch", "transformers", "numpy", "scipy", "PIL", "accelerate", "cv2", "pycocotools"},
    "runs": {"torch", "transformers", "numpy", "tqdm", "PIL"},
    "conversion": set(),
    "__main__": set(),
    "cli": {"typer"},
}


def rooms() -> dict[str, list[Path]]:
    found = {path.name: sorted(path.rglob("*.py")) for path in PACKAGE.iterdir() if path.is_dir()}
    found |= {path.stem: [path] for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    found["conversion"] = sorted((ROOT / "conversion").glob("*.py"))
    found.pop("__pycache__", None)
    return found


def imports(path: Path, top_level_only: bool = False) -> list[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names = []
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_every_room_has_a_layer():
    assert set(rooms()) <= set(LAYERS)


@pytest.mark.parametrize("room", sorted(rooms()))
def test_no_import_points_up(room):
    for path in rooms()[room]:
        for name in imports(path):
            if not name.startswith("sam2_hf."):
                continue
            target = name.split(".")[1]
            if target == room or target not in LAYERS or (path.name, name) == UPWARD_SEAM:
                continue
            neighbour = any(name.startswith(allowed) for owner, allowed in ALLOWED_NEIGHBOURS if owner == room)
            assert LAYERS[target] < LAYERS[room] or neighbour, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", sorted(rooms()))
def test_room_imports_only_its_libraries(room):
    for path in rooms()[room]:
        for name in imports(path, top_level_only=room == "cli"):
            library = name.split(".")[0]
            is_own = library in ("sam2_hf", "__future__") or library in sys.stdlib_module_names
            assert is_own or library in THIRD_PARTY[room], f"{path.relative_to(ROOT)} imports {library}"


def test_import_of_the_package_loads_nothing_heavy():
    code = "import sys, sam2_hf; print([m for m in ('torch', 'transformers', 'numpy', 'PIL') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_public_names_are_sorted_and_load():
    import sam2_hf

    assert sorted(sam2_hf.__all__) == sam2_hf.__all__
    for name in sam2_hf.__all__:
        value = getattr(sam2_hf, name)
        assert name.isupper() or value.__name__ == name
    assert dir(sam2_hf) == sorted([*sam2_hf.__all__, "__version__"])
    assert sam2_hf.__version__ == version("sam2-hf")


def test_whole_package_imports_without_forbidden_libraries():
    """torchvision, OpenCV, matplotlib, pandas and gradio may be missing."""
    code = (
        "import sys, importlib, pkgutil\n"
        "for name in ('torchvision', 'cv2', 'matplotlib', 'pandas', 'gradio'): sys.modules[name] = None\n"
        "import sam2_hf\n"
        "for module in pkgutil.walk_packages(sam2_hf.__path__, 'sam2_hf.'): importlib.import_module(module.name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
