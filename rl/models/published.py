"""Checkpoints as others published them: found, fetched, and looked over before anything is trained.

Nothing that comes with them is run: weights are safetensors, architectures those of transformers,
and code is neither fetched nor imported. In the folder that RL_MODEL_DIR names they lie as on the
hub, owner/name/config.json; without it huggingface_hub's cache is used, and filled from the hub.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open

from rl.digests import file_sha256, json_sha256
from rl.errors import UserError
from rl.files import folder_named_by
from rl.models.decoder import ARCHITECTURES

VARIABLE = "RL_MODEL_DIR"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
GENERATION, TOKENIZER = "generation_config.json", "tokenizer_config.json"
FETCHED = (
    *("config.json", GENERATION, "*.safetensors", INDEX),
    *("tokenizer.json", TOKENIZER, "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "merges.txt", "chat_template.jinja"),
)
# What a setting is called in config.json, and its value where that says nothing.
CALLED: Mapping[str, tuple[str, Any]] = {
    "architecture": ("model_type", None),
    "hidden_size": ("hidden_size", None),
    "layers": ("num_hidden_layers", None),
    "heads": ("num_attention_heads", None),
    "kv_heads": ("num_key_value_heads", None),
    "intermediate_size": ("intermediate_size", None),
    "tie_embeddings": ("tie_word_embeddings", False),
    "vocabulary": ("vocab_size", None),
    "context": ("max_position_embeddings", None),
}


def fetch(name: str, revision: str) -> Path:
    """The folder of a checkpoint, whole: its configuration, tokenizer and weights are there.

    Args:
        name: on the hub, owner/name.
        revision: the hub's commit, 40 hexadecimal digits. What lies in RL_MODEL_DIR is taken as it
            is, and may lack generation_config.json or tokenizer_config.json; a run's manifest
            tells its weights by their hash.

    Raises:
        UserError: it is not there, the hub does not give it, or it is damaged.
    """
    if not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise UserError(
            f"base.revision: expected a commit of the hub, 40 hexadecimal digits, got "
            f"{revision!r}; a branch moves, and a run could not be repeated"
        )
    folder = folder_named_by(VARIABLE)
    if folder is None:
        return _from_hub(name, revision)
    found = folder / name
    if not (found / "config.json").is_file():
        raise UserError(
            f"{VARIABLE} = {folder}: expected {name} in {name}/, with its config.json, weights and "
            f"tokenizer; found none. Put it there, or unset {VARIABLE} to take it from the hub"
        )
    _check_files(found, name)
    return found


@cache  # a hub that does not answer is waited for, half a minute, once in a process
def _from_hub(name: str, revision: str) -> Path:
    """What the cache lacks comes from the hub, which is asked nothing if it lacks nothing of a list
    that it gave before. Where the hub does not answer, the cache will do if it is whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]  # HTTPError is its client's
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
        XetDownloadError,
    )

    # It would tell of each try; the message below tells of all.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    download: Callable[..., Any] = partial(
        snapshot_download,
        name,
        revision=revision,
        allow_patterns=list(FETCHED),
        ignore_patterns=["*/*"],
    )
    try:
        return _whole(Path(download()), name, revision)
    except RepositoryNotFoundError:
        why = "no such checkpoint, or not for everybody"
    except RevisionNotFoundError:
        why = "no such revision"
    except LocalEntryNotFoundError:
        why = "it is not whole in the cache here, and the hub is out of reach or HF_HUB_OFFLINE set"
    except (OSError, ValueError, RuntimeError, HTTPError, XetDownloadError) as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    try:  # a connection that breaks off is no reason for the library to look there
        return _whole(Path(download(local_files_only=True)), name, revision)
    except LocalEntryNotFoundError:
        raise UserError(
            f"{name}: the hub did not give revision {revision} ({why}). Correct base.name and "
            f"base.revision, go online, or set {VARIABLE} to a folder that holds it in {name}/"
        ) from None


def _whole(snapshot: Path, name: str, revision: str) -> Path:
    """The same, if nothing is missing: by the hub's list of files, to which the library held it; or
    where none is kept, by the files without which a run would silently be another.

    Raises:
        UserError: something is, or is damaged.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        get_cached_repo_tree(name, revision=revision)
        needed: tuple[str, ...] = ()
    except CachedRepoTreeNotFoundError:
        needed = (GENERATION, TOKENIZER)
    _check_files(snapshot, name, needed=needed)
    return snapshot


def _check_files(folder: Path, name: str, *, needed: Sequence[str] = ()) -> None:
    """Configuration, tokenizer, weights and what else is `needed` are there; what can be read
    without the weights is sound, and each weight file is as long as it says.

    Raises:
        UserError: one is not.
    """
    _config(folder, name)
    for file in ("tokenizer.json", *needed):
        if not (folder / file).is_file():
            raise UserError(f"{name}: no {file} in {folder}; fetch the whole checkpoint")
    for file in FETCHED:
        if file.endswith(".json") and (folder / file).is_file():
            _json(folder / file, name)
    eos_ids(folder, name)
    for path in weight_files(folder, name):
        _shapes(path, name)


def eos_ids(folder: Path, name: str) -> list[int]:
    """Tokens that end a response: as generation_config.json lists them, else config.json; none if
    neither does.

    Raises:
        UserError: one is no row of the model's vocabulary.
    """
    rows = _config(folder, name).get("vocab_size")
    if not isinstance(rows, int) or rows < 1:
        raise UserError(
            f"{name}: config.json: expected a vocab_size of 1 or more, got {rows!r}; fetch it again"
        )
    for file in (GENERATION, "config.json"):
        found = (
            _json(folder / file, name).get("eos_token_id") if (folder / file).is_file() else None
        )
        if found is None:
            continue
        ids: list[Any] = found if isinstance(found, list) else [found]
        if not all(type(i) is int and 0 <= i < rows for i in ids):
            raise UserError(
                f"{name}: {file}: expected eos_token_id of whole numbers from 0 to {rows - 1}, "
                f"got {found!r}; fetch it again"
            )
        return ids
    return []


def weight_files(folder: Path, name: str) -> list[Path]:
    """The safetensors of a checkpoint, one or several.

    Raises:
        UserError: there are none, or not all that its index lists.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        raise UserError(
            f"{name}: expected weights in {WEIGHTS}, or in several files that {INDEX} lists, got "
            f"{', '.join(pickles) or 'none'} in {folder}. "
            + (
                "A .bin file can run code when it is read, and is not; choose a revision with "
                "safetensors, or convert it"
                if pickles
                else "Fetch the whole checkpoint, of a revision that has safetensors"
            )
        )
    listed = _json(folder / INDEX, name).get("weight_map")
    names: set[Any] = set(listed.values()) if isinstance(listed, dict) else set()
    if not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
        raise UserError(f"{name}: {folder / INDEX} lists no weight files; fetch it again")
    missing = sorted(n for n in names if not (folder / n).is_file())
    if missing:
        raise UserError(
            f"{name}: {INDEX} lists {len(names)} weight files, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not in {folder}; fetch what is missing"
        )
    return [folder / n for n in sorted(names)]


def weights_sha256(folder: Path, name: str) -> str:
    """Of the weight file; of several, of their names with their hashes."""
    hashes = {path.name: file_sha256(path) for path in weight_files(folder, name)}
    return next(iter(hashes.values())) if len(hashes) == 1 else json_sha256(hashes)


def check_model(folder: Path, name: str, expected: Mapping[str, Any]) -> None:
    """The checkpoint is a stock Qwen2 or Llama of the `expected` sizes (keys of CALLED), and its
    weights are all of those and no others.

    Raises:
        UserError: it is not.
    """
    config = _config(folder, name)
    for key, wanted in expected.items():
        called, default = CALLED[key]
        found = config.get(called, default)
        if key == "kv_heads" and found is None:  # older Llamas have as many as heads
            found = config.get("num_attention_heads")
        if found != wanted:
            where = key if key in ("vocabulary", "context") else f"model.{key}"
            raise UserError(
                f"base.{where}: the configuration says {wanted}, but config.json of {name} has "
                f"{called} {found}; correct the one, or name another checkpoint"
            )
    stock: tuple[Any, Any] = ARCHITECTURES[config["model_type"]]
    try:
        with torch.device("meta"):
            model = stock[1](stock[0].from_dict(config))
    except (StrictDataclassError, ValueError, TypeError, KeyError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{name}: no model can be made by its config.json ({why})") from None
    tied = {"lm_head.weight"} if expected["tie_embeddings"] else set()
    wanted_shapes = {key: tuple(w.shape) for key, w in model.state_dict().items()}
    shapes = {
        key: shape
        for path in weight_files(folder, name)
        for key, shape in _shapes(path, name).items()
    }
    wrong = sorted(
        key
        for key in wanted_shapes.keys() | shapes.keys()
        if wanted_shapes.get(key) != shapes.get(key) and not (key in tied and key not in shapes)
    )
    if wrong:
        key = wrong[0]
        raise UserError(
            f"{name}: its weights are not those of its config.json: {key} has shape "
            f"{shapes.get(key, 'none')}, expected {wanted_shapes.get(key, 'none')}"
            f"{f', and {len(wrong) - 1} more' if len(wrong) > 1 else ''}; fetch it again"
        )


def _config(folder: Path, name: str) -> dict[str, Any]:
    config = _json(folder / "config.json", name)
    if "auto_map" in config:
        raise UserError(
            f"{name}: its config.json has auto_map, which asks for code of its own to be run, and "
            f"none is; expected a stock {' or '.join(ARCHITECTURES)}"
        )
    if config.get("model_type") not in ARCHITECTURES:
        raise UserError(
            f"{name}: expected model_type {' or '.join(ARCHITECTURES)} in config.json, got "
            f"{config.get('model_type')!r}; choose a checkpoint of these architectures"
        )
    return config


def _json(path: Path, name: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: {path} cannot be read ({error}); fetch it again") from None
    if not isinstance(data, dict):
        raise UserError(f"{name}: {path}: expected a JSON object; fetch it again")
    return data


def _shapes(path: Path, name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a file's weights, of which none is read."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{name}: {path} is damaged ({error}); fetch it again") from None
