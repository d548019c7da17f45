"""A published checkpoint in small: a Qwen2 of two layers with a byte-level BPE and a chat template,
in the hub's file layout, and the small problem sets beside it."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from tests.tiny import RUN, changed

NAME, REVISION = "tiny/Qwen2-tiny", "0123456789abcdef0123456789abcdef01234567"
FIXTURES = Path(__file__).parent.parent / "fixtures" / "maths"
# ChatML as Qwen's templates write it.
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MODEL: dict[str, Any] = {
    "architecture": "qwen2",
    "hidden_size": 32,
    "layers": 2,
    "heads": 4,
    "kv_heads": 2,
    "intermediate_size": 48,
    "tie_embeddings": True,
}
VOCABULARY, CONTEXT = 420, 1024  # of the model: 20 rows more than there are tokens


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    fast = FastTokenizer(BPE())
    fast.pre_tokenizer = ByteLevel(add_prefix_space=False)
    fast.decoder = ByteLevelDecoder()
    texts = [path.read_text(encoding="utf-8") for path in sorted(FIXTURES.glob("*.jsonl"))]
    trainer = BpeTrainer(vocab_size=397, show_progress=False, initial_alphabet=ByteLevel.alphabet())
    fast.train_from_iterator([*texts, "<think> </think> <answer> </answer>"], trainer)
    stock = PreTrainedTokenizerFast(
        tokenizer_object=fast,
        eos_token=SPECIALS[0],
        extra_special_tokens=SPECIALS[1:],
        chat_template=TEMPLATE,
    )
    assert len(stock) == 400
    return stock


@cache
def model(*, hidden_size: int = 32) -> Qwen2ForCausalLM:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=VOCABULARY,
                hidden_size=hidden_size,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                intermediate_size=48,
                tie_word_embeddings=True,
                max_position_embeddings=CONTEXT,
                rope_parameters={"rope_type": "default", "rope_theta": 1e6},
                eos_token_id=tokenizer().eos_token_id,
                initializer_range=0.2,
            )
        )
        with torch.no_grad():  # published models have biases
            for name, weight in made.named_parameters():
                if name.endswith("bias"):
                    weight.normal_(std=0.5)
    return made


def write_checkpoint(folder: Path, *, hidden_size: int = 32, **save: Any) -> Path:
    """Into `folder`/owner/name."""
    target = folder / NAME
    model(hidden_size=hidden_size).save_pretrained(target, **save)
    tokenizer().save_pretrained(target)
    return target


def as_cache(checkpoint: Path, cache_folder: Path, *, revision: str = REVISION) -> Path:
    """The same in the layout of huggingface_hub's cache; returns the snapshot."""
    root = cache_folder / f"models--{NAME.replace('/', '--')}"
    snapshot = root / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (root / "blobs").mkdir()
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(revision, encoding="utf-8")
    for number, path in enumerate(sorted(checkpoint.iterdir())):
        blob = root / "blobs" / f"{number:040x}"
        shutil.copyfile(path, blob)
        (snapshot / path.name).symlink_to(Path("../../blobs") / blob.name)
    return snapshot


def write_data(folder: Path) -> Path:
    """The small problem sets under the names of the real ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, called in (("gsm8k", "gsm8k"), ("math", "hendrycks_math")):
        for split in ("train", "test"):
            shutil.copyfile(FIXTURES / f"{name}_{split}.jsonl", folder / f"{called}_{split}.jsonl")
    return folder


def change_json(path: Path, **changes: Any) -> None:
    """Some entries of a JSON file; None takes one out."""
    data = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    kept = {key: value for key, value in data.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


TASK: dict[str, Any] = {
    "name": "gsm8k",
    "prompt": "r1_zero",
    "difficulties": [1, 2, 3, 4, 5, 6, 7, 8],
    "train": {
        "dataset": "openai/gsm8k",
        "revision": "a" * 40,
        "subsets": ["main"],
        "split": "train",
    },
    "heldout": {
        "dataset": "openai/gsm8k",
        "revision": "a" * 40,
        "subsets": ["main"],
        "split": "test",
    },
    "verify_seconds": 5.0,
}
BASE: dict[str, Any] = {
    "name": NAME,
    "revision": REVISION,
    "model": MODEL,
    "vocabulary": VOCABULARY,
    "context": CONTEXT,
}
PUBLISHED: dict[str, Any] = changed(
    RUN, {"task": TASK, "base": BASE, "reward.name": "answer", "rollout.max_new_tokens": 8}
)
