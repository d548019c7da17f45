"""Checkpoints in RL_MODEL_DIR and in the hub's cache, and every one that is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from transformers import Qwen2Config, Qwen2ForCausalLM

from rl.digests import file_sha256, json_sha256
from rl.errors import UserError
from rl.models import FusedDecoder, check_model, fetch, load_decoder, published, weights_sha256
from rl.models.fused import can_fuse
from rl.rollout.decoding import rows_at_once
from tests.published.checkpoint import (
    CONTEXT,
    MODEL,
    NAME,
    REVISION,
    VOCABULARY,
    as_cache,
    change_json,
    model,
    write_checkpoint,
)

SIZES = {**MODEL, "vocabulary": VOCABULARY, "context": CONTEXT}


@pytest.fixture
def checkpoint(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy in RL_MODEL_DIR, to be spoiled."""
    monkeypatch.setenv("RL_MODEL_DIR", str(tmp_path / "models"))
    return Path(shutil.copytree(models / NAME, tmp_path / "models" / NAME))


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network, as HF_HUB_CACHE and HF_HUB_OFFLINE=1 have it: the hub's
    library reads them when it is imported."""
    monkeypatch.delenv("RL_MODEL_DIR", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    published._from_hub.cache_clear()
    return tmp_path / "hub"


def same_weights(folder: Path) -> bool:
    loaded = load_decoder(folder).state_dict()
    return all(torch.equal(weight, loaded[key]) for key, weight in model().state_dict().items())


def test_a_folder_is_taken_as_it_is(checkpoint: Path) -> None:
    assert fetch(NAME, REVISION) == checkpoint
    check_model(checkpoint, NAME, SIZES)
    assert same_weights(checkpoint)
    assert weights_sha256(checkpoint, NAME) == file_sha256(checkpoint / "model.safetensors")
    assert load_decoder(checkpoint, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_weights_may_come_in_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_MODEL_DIR", str(tmp_path))
    folder = write_checkpoint(tmp_path, max_shard_size="40KB")
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) > 1
    assert fetch(NAME, REVISION) == folder
    check_model(folder, NAME, SIZES)
    assert same_weights(folder)
    hashes = {path.name: file_sha256(path) for path in files}
    assert weights_sha256(folder, NAME) == json_sha256(hashes)
    files[0].unlink()
    with pytest.raises(UserError, match=f"{files[0].name} is not in .*; fetch what is missing"):
        fetch(NAME, REVISION)


def test_the_hubs_cache_is_read_without_the_hub(models: Path, offline: Path) -> None:
    snapshot = as_cache(models / NAME, offline)
    assert fetch(NAME, REVISION) == snapshot
    check_model(snapshot, NAME, SIZES)
    assert same_weights(snapshot)


def test_a_revision_that_is_not_cached_is_told(models: Path, offline: Path) -> None:
    as_cache(models / NAME, offline)
    with pytest.raises(UserError) as caught:
        fetch(NAME, "f" * 40)
    assert str(caught.value) == (
        f"{NAME}: the hub did not give revision {'f' * 40} (it is not whole in the cache here, and "
        "the hub is out of reach or HF_HUB_OFFLINE set). Correct base.name and base.revision, go "
        f"online, or set RL_MODEL_DIR to a folder that holds it in {NAME}/"
    )


def test_a_half_fetched_snapshot_is_no_checkpoint(models: Path, offline: Path) -> None:
    snapshot = as_cache(models / NAME, offline)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"expected weights in model\.safetensors"):
        fetch(NAME, REVISION)


@pytest.mark.parametrize("revision", ["main", "f" * 39, "F" * 40, ""])
def test_a_branch_is_no_revision(checkpoint: Path, revision: str) -> None:
    assert checkpoint.is_dir()
    with pytest.raises(UserError, match=r"base\.revision: expected a commit of the hub, 40 hex"):
        fetch(NAME, revision)


def test_the_variable_names_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RL_MODEL_DIR", str(tmp_path / "none"))
    with pytest.raises(UserError, match="RL_MODEL_DIR: expected a folder, got"):
        fetch(NAME, REVISION)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def torn_config(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def damaged(file: str, text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / file).write_text(text, encoding="utf-8")

    return change


def listed_outside(folder: Path) -> None:
    no_weights(folder)
    index = {"weight_map": {"lm_head.weight": "../model.safetensors"}}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index), encoding="utf-8")


def ends(file: str, ids: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        change_json(folder / file, eos_token_id=ids)

    return change


def with_config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        change_json(folder / "config.json", **changes)

    return change


SPOILED: list[tuple[Callable[[Path], None], str]] = [
    (
        pickled,
        r"got pytorch_model\.bin in .* A \.bin file can run code when it is read, and is not",
    ),
    (
        no_weights,
        r"got none in .*\. Fetch the whole checkpoint, of a revision that has safetensors",
    ),
    (cut_short, r"model\.safetensors is damaged \(.*\); fetch it again"),
    (no_tokenizer, r"no tokenizer\.json in .*; fetch the whole checkpoint"),
    (torn_config, r"config\.json cannot be read \(.*\); fetch it again"),
    (damaged("generation_config.json", '{"eos_token_id": 39'), "n_config.json cannot be read"),
    (
        damaged("generation_config.json", ""),
        r"generation_config\.json cannot be read \(.*\); fetch",
    ),
    (
        damaged("generation_config.json", "[]"),
        r"generation_config\.json: expected a JSON object; f",
    ),
    (damaged("tokenizer_config.json", "[]"), r"tokenizer_config\.json: expected a JSON object; fe"),
    (damaged("tokenizer_config.json", "{"), r"tokenizer_config\.json cannot be read \(.*\); fetch"),
    (
        ends("generation_config.json", "x"),
        r"generation_config\.json: expected eos_token_id of whole numbers from 0 to 419, got 'x';",
    ),
    (ends("generation_config.json", [397, 99999]), r"from 0 to 419, got \[397, 99999\]; fetch it"),
    (ends("generation_config.json", 420), "from 0 to 419, got 420; fetch it again"),
    (ends("generation_config.json", -1), "from 0 to 419, got -1; fetch it again"),
    (ends("generation_config.json", True), "from 0 to 419, got True; fetch it again"),
    (with_config(vocab_size="x"), r"config\.json: expected a vocab_size of 1 or more, got 'x'; f"),
    (listed_outside, "lists no weight files; fetch it again"),
    (
        with_config(auto_map={"AutoModel": "modeling.Tiny"}),
        r"config\.json has auto_map, which asks for code of its own to be run, and none is; exp",
    ),
    (
        with_config(model_type="gpt2"),
        "expected model_type qwen2 or llama in config.json, got 'gpt2'; choose a checkpoint",
    ),
]


@pytest.mark.parametrize(("spoil", "told"), SPOILED, ids=range(len(SPOILED)))
def test_a_spoiled_checkpoint_is_one_message(
    checkpoint: Path, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(checkpoint)
    with pytest.raises(UserError, match=told) as caught:
        fetch(NAME, REVISION)
    assert str(caught.value).startswith(f"{NAME}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (
            "hidden_size",
            64,
            "base.model.hidden_size: the configuration says 64, but config.json of",
        ),
        ("layers", 3, "base.model.layers: the configuration says 3, but .* num_hidden_layers 2;"),
        ("tie_embeddings", False, "says False, but config.json of .* tie_word_embeddings True"),
        ("vocabulary", 400, "base.vocabulary: the configuration says 400, but .* vocab_size 420"),
        ("context", 99, "base.context: the configuration says 99, but .* max_position_embeddings"),
        (
            "architecture",
            "llama",
            "base.model.architecture: .* says llama, but .* model_type qwen2",
        ),
    ],
)
def test_other_sizes_than_configured_are_told(
    checkpoint: Path, key: str, value: Any, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        check_model(checkpoint, NAME, {**SIZES, key: value})


def test_weights_of_another_model_are_told(checkpoint: Path) -> None:
    change_json(checkpoint / "config.json", num_hidden_layers=3)
    with pytest.raises(
        UserError, match=r"no model can be made by its config\.json \(.*layer_types"
    ):
        check_model(checkpoint, NAME, {**SIZES, "layers": 3})
    change_json(checkpoint / "config.json", layer_types=["full_attention"] * 3)
    with pytest.raises(UserError, match=r"model\.layers\.2\.\S+ has shape none, expected \(.*more"):
        check_model(checkpoint, NAME, {**SIZES, "layers": 3})
    change_json(checkpoint / "config.json", num_hidden_layers=2, layer_types=None)
    change_json(checkpoint / "config.json", intermediate_size=50)
    with pytest.raises(
        UserError, match=r"down_proj\.weight has shape \(32, 48\), expected \(32, 5"
    ):
        check_model(checkpoint, NAME, {**SIZES, "intermediate_size": 50})


def test_the_fast_path_computes_what_a_published_model_does(checkpoint: Path) -> None:
    """Biases, fewer key-value heads and a base of rotation of its own."""
    found = load_decoder(checkpoint)
    assert found.config.rope_parameters["rope_theta"] == 1e6
    assert can_fuse(found)
    token_BT = torch.arange(60).view(2, 30) * 7 % VOCABULARY
    with torch.no_grad():
        fused = FusedDecoder(found)(input_ids=token_BT).logits
        plain = found(input_ids=token_BT).logits
    assert plain.std() > 0.1
    assert torch.allclose(fused, plain, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
        {"dtype": "bfloat16"},
    ],
)
def test_the_fast_path_leaves_other_models_alone(checkpoint: Path, changes: dict[str, Any]) -> None:
    change_json(checkpoint / "config.json", layer_types=None, **changes)
    assert not can_fuse(load_decoder(checkpoint))


def test_keys_and_values_bound_the_rows_on_a_gpu() -> None:
    """Of Qwen2.5-Math-1.5B in bf16: 2 * 28 layers * 256 channels * 4,096 tokens * 2 bytes a row."""
    config = Qwen2Config(
        hidden_size=1536,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        intermediate_size=8960,
    )
    with torch.device("meta"):
        model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    assert rows_at_once(model, 4096, 1024) == 16 * 2**30 // (2 * 28 * 256 * 4096 * 2) == 146
    assert rows_at_once(model, 4096, 100) == 100
    assert rows_at_once(model, 10**9, 100) == 1
