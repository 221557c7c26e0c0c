"""Weight files of every accepted kind to one plain state dict.

    {"model": state_dict}            original releases, Ultralytics, the original trainer
    {"state_dict": state_dict}       other trainers
    state_dict                       bare
    *.safetensors                    one file, or the folder of a sharded one with its index

Pickles are read with `weights_only=True`, always.
"""

import json
import pickle
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sam2_hf.errors import CheckpointError
from sam2_hf.modeling.pretrained import REFUSED_PICKLE

UNIFORM_PREFIXES = ("module.", "model.", "_orig_mod.", "sam2.")
STATE_DICT_KEYS = ("model", "state_dict")
EMA_KEYS = ("ema", "ema_model", "model_ema", "state_dict_ema")
PICKLE_SUFFIXES = (".pt", ".pth", ".bin")


@dataclass(slots=True)
class ReadWeights:
    """A state dict as it lay in a file, and what a user should know of how it was read."""

    state_dict: dict[str, Tensor]
    notes: list[str] = field(default_factory=list)


def read_weights(path: str | Path, weights_key: str | None = None) -> ReadWeights:
    """Reads a weight file or a folder with safetensors.

    Args:
        path: the file or folder.
        weights_key: top-level key of a pickle to take instead of `model`, such as "ema".

    Raises:
        CheckpointError: the file is missing, truncated, no weight file, or needs arbitrary unpickling.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")
    notes: list[str] = []
    if weights_key is not None and path.suffix not in PICKLE_SUFFIXES:
        raise CheckpointError(
            f"{path}: weights_key={weights_key!r} has a meaning for {', '.join(PICKLE_SUFFIXES)} only"
        )
    if path.is_dir():
        loaded = _read_folder(path)
    elif path.suffix == ".safetensors":
        loaded = _read_safetensors(path)
    elif path.suffix in PICKLE_SUFFIXES:
        loaded = _pick_state_dict(path, _read_pickle(path), weights_key, notes)
    else:
        known = ", ".join((*PICKLE_SUFFIXES, ".safetensors"))
        raise CheckpointError(f"{path}: not a weight file; expected one of {known}, or a folder with safetensors")
    state_dict = _check_tensors(path, _strip_prefix(loaded, notes), notes)
    return ReadWeights(state_dict, notes)


def _read_pickle(path: Path):
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).lower() or "unsupported" in str(error).lower():
            raise CheckpointError(f"{path}: {REFUSED_PICKLE}") from None  # PyTorch's text advises to run it anyway
        raise CheckpointError(f"{path}: not a PyTorch weight file ({_first_line(error)})") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: damaged or cut off ({_first_line(error)}); download it again") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged or cut off ({_first_line(error)}); download it again") from error


def _read_folder(path: Path) -> dict[str, Tensor]:
    index = path / "model.safetensors.index.json"
    if not index.exists():
        single = path / "model.safetensors"
        if not single.exists():
            raise CheckpointError(f"{path}: the folder has neither model.safetensors nor its index")
        return _read_safetensors(single)
    shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    missing = [shard for shard in shards if not (path / shard).exists()]
    if missing:
        raise CheckpointError(f"{path}: {len(missing)} of {len(shards)} shards are missing, first {missing[0]}")
    merged: dict[str, Tensor] = {}
    for shard in shards:
        merged |= _read_safetensors(path / shard)
    return merged


def _pick_state_dict(path: Path, loaded, weights_key: str | None, notes: list[str]) -> dict:
    if isinstance(loaded, torch.nn.Module):
        raise CheckpointError(
            f"{path}: holds a pickled module; re-save the state dict: torch.save(module.state_dict(), ...)"
        )
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path}: holds a {type(loaded).__name__}, expected a dictionary of tensors")
    if weights_key is not None:
        if weights_key not in loaded:
            raise CheckpointError(f"{path}: has no key {weights_key!r}; its keys are {sorted(map(str, loaded))[:8]}")
        if not isinstance(loaded[weights_key], dict):
            found = type(loaded[weights_key]).__name__
            raise CheckpointError(f"{path}: {weights_key!r} is a {found}, not a dictionary of tensors")
        return loaded[weights_key]
    ema = [key for key in EMA_KEYS if key in loaded]
    if ema:
        notes.append(f"the file also holds averaged weights under {ema[0]!r}; pass weights_key={ema[0]!r} to use them")
    for key in STATE_DICT_KEYS:
        if isinstance(loaded.get(key), dict):
            return loaded[key]
        if isinstance(loaded.get(key), torch.nn.Module):
            raise CheckpointError(f"{path}: {key!r} is a pickled module; re-save the state dict of it")
    return loaded


def _strip_prefix(state_dict: dict, notes: list[str]) -> dict:
    """Takes one prefix off that all names share."""
    for prefix in UNIFORM_PREFIXES:
        if state_dict and all(str(name).startswith(prefix) for name in state_dict):
            notes.append(f"stripped the prefix {prefix!r} from all {len(state_dict)} names")
            return {name.removeprefix(prefix): value for name, value in state_dict.items()}
    return state_dict


def _check_tensors(path: Path, state_dict: dict, notes: list[str]) -> dict[str, Tensor]:
    """float32 tensors, all finite."""
    if not state_dict:
        raise CheckpointError(f"{path}: holds no tensors")
    dtypes = set()
    for name, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: {name!r} is a {type(value).__name__}, not a tensor; re-save the state dict alone"
            )
        if not value.is_floating_point():
            raise CheckpointError(f"{path}: {name!r} has dtype {value.dtype}; weights must be floating point")
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: {name!r} has NaN or infinite values")
        dtypes.add(value.dtype)
    if dtypes != {torch.float32}:
        notes.append(f"cast from {', '.join(sorted(str(dtype).removeprefix('torch.') for dtype in dtypes))} to float32")
    return {name: value.float() for name, value in state_dict.items()}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
