"""ROLLOUT and rollout.sampler: who samples, and under which folder's name."""

from typing import Any

import pytest

from analysis import claims
from rl.config import config_digest, load_experiment
from rl.errors import UserError
from rl.rollout import vllm_engine


def load(files: Any, rollout: str, overrides: dict[str, Any] | None = None) -> Any:
    files.load()
    return load_experiment(files.directory, "laptop", overrides, rollout)


@pytest.mark.parametrize("rollout", ["vllm", "vllm_worker"])
def test_every_arm_with_a_decoder_samples_by_it_apart_from_the_others(
    files: Any, rollout: str
) -> None:
    experiment = load(files, rollout)
    samplers = {name: config.rollout.sampler for name, config in experiment.arms.items()}
    assert samplers == dict.fromkeys(("none", "group_std", "weight"), rollout)
    assert experiment.label == f"laptop+rollout={rollout}"
    assert experiment.overrides == {"ROLLOUT": rollout}, "which promotion refuses"
    other = files.load()
    assert other.label == "laptop"
    assert other.overrides == {}
    digests = [config_digest(e.arms["none"]) for e in (experiment, other)]
    assert digests[0] != digests[1]


def test_the_name_of_the_folder_tells_set_as_well(files: Any) -> None:
    experiment = load(files, "vllm", {"steps": 3})
    assert experiment.label == "laptop+steps=3+rollout=vllm"
    assert experiment.overrides == {"steps": 3, "ROLLOUT": "vllm"}
    assert experiment.arms["none"].steps == 3
    assert claims.label_of(files.directory, "laptop", "steps=3", "vllm") == experiment.label


def test_what_is_as_it_was_has_its_old_folder(files: Any) -> None:
    assert load(files, "local") == files.load()
    files.put("run.rollout.sampler", "vllm")
    assert load(files, "vllm") == files.load()
    assert load(files, "local").label == "laptop+rollout=local"


def test_arms_without_a_decoder_stay_as_they_are() -> None:
    """Experiment 06 has both kinds."""
    from rl.config import DecoderRunConfig, find_experiment

    plain = load_experiment(find_experiment(6), "smoke")
    experiment = load_experiment(find_experiment(6), "smoke", None, "vllm")
    kinds = {isinstance(config, DecoderRunConfig) for config in experiment.arms.values()}
    assert kinds == {True, False}
    for name, config in experiment.arms.items():
        if isinstance(config, DecoderRunConfig):
            assert config.rollout.sampler == "vllm"
        else:
            assert config == plain.arms[name]


def test_unknown_samplers_and_experiments_without_one_are_told(files: Any) -> None:
    with pytest.raises(
        UserError,
        match="ROLLOUT: expected one of local, vllm, vllm_worker, got 'vlm'; did you mean 'vllm'",
    ):
        load(files, "vlm")
    from rl.config import find_experiment

    with pytest.raises(UserError, match="ROLLOUT: 01-policy-gradient has no arm that samples"):
        load_experiment(find_experiment(1), "smoke", None, "vllm")


def test_settings_of_vllm_have_defaults_and_are_checked(files: Any) -> None:
    files.put("run.rollout.vllm", {"tensor_parallel": 2, "dtype": "bfloat16"})
    settings = load(files, "vllm_worker").arms["none"].rollout.vllm
    assert (settings.tensor_parallel, settings.dtype, settings.eager) == (2, "bfloat16", True)
    with pytest.raises(UserError, match="expected sampler vllm_worker with it, or 1, got 2"):
        load(files, "vllm")
    files.put("run.rollout.vllm", {"kv_cache_mib": 0})
    assert "rollout.vllm.kv_cache_mib: input should be greater than 0" in files.fault()


def test_a_missing_vllm_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_engine, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"vLLM: expected it beside .*run `make setup-vllm`"):
        vllm_engine.check_installed()


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        ({"gap_cap": 2.0}, None),
        ({"gap_cap": 1}, None),
        ({"gap_cap": 0.5}, "loss.gap_cap: input should be greater than or equal to 1, got 0.5"),
        ({"gap_cap": 2.0, "old_logps": "sampler"}, "loss.gap_cap: with the sampler's log-probs"),
    ],
)
def test_the_correction_of_the_gap(files: Any, loss: dict[str, Any], told: str | None) -> None:
    for name, value in loss.items():
        files.put(f"run.loss.{name}", value)
    if told is None:
        assert files.load().arms["none"].loss.gap_cap == loss["gap_cap"]
    else:
        assert told in files.fault()
