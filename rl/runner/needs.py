"""What each profile of each experiment needs on a device, from its configuration alone.

Every response is counted at full length. Runs without a decoder take seconds to minutes of a
processor core and are counted apart. No profile was measured for this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from rl.config import (
    DecoderConfig,
    DecoderRunConfig,
    Experiment,
    ProfileName,
    ProgramConfig,
    RewardModelConfig,
    load_experiment,
    profiles_of,
)
from rl.needs import (
    BF16,
    FP32,
    Device,
    Shape,
    activation_bytes,
    cache_bytes,
    sampling_seconds,
    training_bytes,
    training_seconds,
)
from rl.rollout.decoding import GPU_KV_CACHE_BYTES
from rl.runner.base_models import base_digest
from rl.runner.work import UPDATE, Work, work_of
from rl.trainers.parts import make_task, make_tokenizer, tokens_in_cache
from rl.trainers.rollouts import MAX_ROWS

PUBLISHED_PROMPT = 512  # tokens that a prompt of a published problem is counted at
MANY = 8  # GPUs of the table's last column
OVERHEAD = 2**30  # bytes of a GPU for its context, and for what lies between allocations
# Dense peaks of the makers' data sheets; the shares are what tuned training and decoding reach.
_SHARES = {"trains": 0.4, "decodes": 0.4, "moves": 0.6, "starts": 6e-6}
DEVICES = (
    Device("RTX 4090", 24 * 2.0**30, {FP32: 83e12, BF16: 165e12}, 1.01e12, **_SHARES),
    Device("A100 80GB", 80 * 2.0**30, {FP32: 19.5e12, BF16: 312e12}, 2.04e12, **_SHARES),
    Device("H100 SXM", 80 * 2.0**30, {FP32: 67e12, BF16: 989e12}, 3.35e12, **_SHARES),
)


@dataclass(frozen=True)
class Sizes:
    """Of a decoder's run: its shape, bytes a number, and tokens of prompt and response at most."""

    shape: Shape
    size: int
    prompt: int
    new: int


@dataclass(frozen=True)
class Need:
    """Of one profile: `runs` of decoders, of `parameters` at most, and `others` without one.
    `gpu_bytes` is the memory of the smallest GPU that will do; `hours`, by the name of a device,
    are of all runs one after another, None where its memory does not suffice."""

    runs: int
    others: int
    parameters: int
    gpu_bytes: float
    hours: dict[str, float | None]


PROFILES: tuple[ProfileName, ...] = ("gpu", "paper")


def table(root: Path = Path("experiments")) -> str:
    """The larger profiles of all experiments under `root`, in Markdown: on one GPU, and each run
    on MANY of the last kind."""
    names = [device.name for device in DEVICES]
    head = ["Experiment", "Profile", "Runs", "Weights", "GPU memory", *names]
    head.append(f"{MANY} x {names[-1]}")
    lines = [_row(head), _row(["---"] * len(head))]
    for directory in sorted(root.glob("[0-9][0-9]-*")):
        for profile in PROFILES:
            if profile not in profiles_of(directory):
                continue
            experiment = load_experiment(directory, profile)
            need, shared = needs_of(experiment), needs_of(experiment, gpus=MANY)
            cells = [directory.name, profile, str(need.runs), f"{need.parameters / 1e6:,.1f}M"]
            cells.append(f"{ceil(need.gpu_bytes / 2**30)} GiB")
            cells += [_hours(need.hours[name]) for name in names]
            lines.append(_row([*cells, _hours(shared.hours[names[-1]])]))
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _hours(hours: float | None) -> str:
    if hours is None:
        return "too small"
    return f"{hours:.0f} h" if hours >= 10 else f"{hours:.1f} h" if hours >= 1 else "under 1 h"


def needs_of(experiment: Experiment, *, gpus: int = 1) -> Need:
    """What an experiment's profile needs, each run spread over `gpus`."""
    runs, others, parameters, most = 0, 0, 0, 0.0
    hours = dict.fromkeys([device.name for device in DEVICES], 0.0)
    bases: set[str] = set()
    for arm, config in experiment.arms.items():
        count, sizes = len(experiment.seeds_of(arm)), sizes_of(config)
        if sizes is None:
            others += count
            continue
        runs += count
        work = work_of(config)
        parameters = max(parameters, sizes.shape.parameters)
        most = max(most, gpu_bytes(config, sizes, work, gpus=gpus))
        base = _base_work(config, bases)
        for device in DEVICES:
            rows = rows_at_once(config, sizes, device)
            seconds = count * _seconds(sizes, work, device, rows=rows, gpus=gpus)
            hours[device.name] += (seconds + _seconds(sizes, base, device)) / 3600
    fits = {device.name: most <= device.memory for device in DEVICES}
    return Need(runs, others, parameters, most, {n: hours[n] if fits[n] else None for n in hours})


def sizes_of(config: ProgramConfig) -> Sizes | None:
    """The decoder of a run; None where it has none, or one of bytes (`scratch`) alone."""
    size = FP32 if config.engine.precision == "fp32" else BF16
    if isinstance(config, DecoderRunConfig) and (published := config.published()) is not None:
        base, new = published[1], config.rollout.max_new_tokens
        prompt = min(PUBLISHED_PROMPT, base.context - new)
        return Sizes(_shape(base.model, base.vocabulary), size, prompt, new)
    made = config.base_model()
    if made is None:
        return None
    task = make_task(made.task)
    shape = _shape(made.base.model, make_tokenizer(task).size)
    prompt = max(len(problem.prompt) for problem in task.train_problems(256, 0))
    if isinstance(config, DecoderRunConfig):
        new = config.rollout.max_new_tokens
    elif isinstance(config, RewardModelConfig) and config.data.name == "sampled":
        new = config.data.max_new_tokens
    else:
        raise TypeError(f"no sizes for program {config.program}")
    return Sizes(shape, size, prompt, new)


def _shape(model: DecoderConfig, vocabulary: int) -> Shape:
    return Shape(
        vocabulary=vocabulary,
        hidden=model.hidden_size,
        layers=model.layers,
        heads=model.heads,
        kv_heads=model.kv_heads,
        intermediate=model.intermediate_size,
        tied=model.tie_embeddings,
        biases=model.architecture == "qwen2",
    )


def gpu_bytes(config: ProgramConfig, sizes: Sizes, work: Work, *, gpus: int) -> float:
    """Memory of the smallest GPU that will do for a run.

    Weights with all that belongs to them, and a micro-batch's activations; or the cache of the
    sampler in the trainer's process, if that is more. vLLM has a share of the card of its own.
    """
    engine, shape, size = config.engine, sizes.shape, sizes.size
    state = work.trained * training_bytes(
        shape.parameters, size=size, zero_stage=engine.zero_stage, ranks=gpus
    )
    state += work.frozen * shape.parameters * size + OVERHEAD
    length = sizes.prompt + sizes.new
    micro = tokens_in_cache(engine, hidden=shape.hidden, intermediate=shape.intermediate)
    update = activation_bytes(
        shape,
        tokens=max(micro, length),
        size=size,
        checkpointing=engine.gradient_checkpointing,
    )
    if share := _share_of_vllm(config):
        return (state + update) / (1 - share)
    rows = max((ceil(at_once / gpus) for _, at_once in work.sampled), default=0)
    cache = cache_bytes(shape, tokens=rows * length, size=size)
    return state + max(update, min(cache, GPU_KV_CACHE_BYTES))


def rows_at_once(config: ProgramConfig, sizes: Sizes, device: Device) -> int:
    """Responses of full length that a sampler can hold at a time."""
    row = cache_bytes(sizes.shape, tokens=sizes.prompt + sizes.new, size=sizes.size)
    share = _share_of_vllm(config)
    if not share:
        return max(1, min(MAX_ROWS, int(GPU_KV_CACHE_BYTES / row)))
    left = share * device.memory - sizes.shape.parameters * sizes.size
    return max(1, int(left / row))


def _share_of_vllm(config: ProgramConfig) -> float:
    """Of a GPU's memory; 0 where vLLM does not sample."""
    if isinstance(config, DecoderRunConfig) and config.by_vllm:
        return config.rollout.vllm.gpu_memory
    return 0.0


def _base_work(config: ProgramConfig, seen: set[str]) -> Work:
    """The training of a base model, by whichever run asks for it first."""
    made = config.base_model()
    if made is None or base_digest(made) in seen:
        return Work()
    seen.add(base_digest(made))
    return Work(passes=made.base.steps * made.base.batch_size * UPDATE)


def _seconds(
    sizes: Sizes, work: Work, device: Device, *, rows: int = MAX_ROWS, gpus: int = 1
) -> float:
    """Of one run whose sampler holds so many rows on each GPU."""
    shape, size, length = sizes.shape, sizes.size, sizes.prompt + sizes.new
    seconds = training_seconds(
        shape, device, tokens=work.passes * length / gpus, context=length / 2, size=size
    )
    for count, at_once in work.sampled:
        seconds += sampling_seconds(
            shape,
            device,
            rows=count / gpus,
            at_once=min(rows, at_once / gpus),
            prompt=sizes.prompt,
            new=sizes.new,
            size=size,
        )
    return seconds
