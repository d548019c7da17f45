"""A world of texts, its reference policy, its preferences and the reward that is learned of them.

Axis letters: P prompts, N responses, K contexts, V tokens, M pairs.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rl.config import TabularPreferencesConfig
from rl.data.coverage import best_share, covered_chances
from rl.data.labels import Labelling, first_chances
from rl.data.synthetic import listed_preferences
from rl.seeding import derive
from rl.tabular.gibbs import gibbs_responses
from rl.tabular.reward_model import fit_reward
from rl.tabular.texts import (
    Texts,
    list_texts,
    prefix_features,
    text_logps,
    token_features,
    tree_logps,
)


@dataclass(frozen=True)
class WeightedPairs:
    """Preferences for `chosen` over `rejected`, numbers of responses; the weights add up to 1."""

    prompt_M: Tensor
    chosen_M: Tensor
    rejected_M: Tensor
    weight_M: Tensor


@dataclass(frozen=True)
class Problem:
    """What a method is given, and what it is judged by."""

    texts: Texts
    gold_PN: Tensor
    ref_KV: Tensor  # log-probabilities
    ref_PN: Tensor
    labelling: Labelling
    pairs: WeightedPairs
    seen_PN: Tensor  # bool, in a pair
    learned_PN: Tensor  # nats of the labels' log-odds


def make_problem(config: TabularPreferencesConfig, seed: int) -> Problem:
    """The world of a seed, and its data; arms that differ in the method alone share both.

    Worlds with the same sizes share gold and base whatever the reference's quality and the pairs.
    """
    world, drawn = config.world, config.pairs
    texts = list_texts(prompts=world.prompts, vocabulary=world.vocabulary, length=world.length)
    gold_PN = _gold(config, texts, seed)
    base_PN = _base(config, texts, seed)
    ref_PN = base_PN
    if world.quality:
        ref_PN, _ = gibbs_responses(base_PN, gold_PN, beta=1 / world.quality)
    ref_KV = tree_logps(texts, ref_PN)
    ref_PN = text_logps(texts, ref_KV)
    labelling = Labelling(scale=math.inf if drawn.scale is None else drawn.scale, flip=drawn.flip)
    first_PN = {"likeliest": ref_PN, "worst": -gold_PN, "random": _normal(ref_PN, "cover", seed)}
    covered_PN = best_share(first_PN[drawn.coverage.first], share=drawn.coverage.share)
    chance_PN = covered_chances(ref_PN, temperature=1.0, covered_PN=covered_PN)
    if drawn.count is None:
        pairs = all_pairs(chance_PN, gold_PN, labelling)
    else:
        prompt_M = torch.arange(world.prompts).repeat_interleave(drawn.count)
        found = listed_preferences(
            prompt_M,
            chance_PN=chance_PN,
            gold_PN=gold_PN,
            labelling=labelling,
            seed=derive("preferences-pairs", seed),
        )
        weight_M = torch.full((len(prompt_M),), 1 / len(prompt_M), dtype=torch.float64)
        pairs = WeightedPairs(prompt_M, found.chosen_M, found.rejected_M, weight_M)
    seen_PN = torch.zeros_like(covered_PN)
    for side_M in (pairs.chosen_M, pairs.rejected_M):
        seen_PN[pairs.prompt_M, side_M] = True
    return Problem(
        texts=texts,
        gold_PN=gold_PN,
        ref_KV=ref_KV,
        ref_PN=ref_PN,
        labelling=labelling,
        pairs=pairs,
        seen_PN=seen_PN,
        learned_PN=fit_reward(
            _features(config, texts),
            prompt_M=pairs.prompt_M,
            chosen_M=pairs.chosen_M,
            rejected_M=pairs.rejected_M,
            weight_M=pairs.weight_M,
            prompts=world.prompts,
            l2=config.reward_model.l2,
        ),
    )


def all_pairs(chance_PN: Tensor, reward_PN: Tensor, labelling: Labelling) -> WeightedPairs:
    """Every ordered pair (i over j) of two responses, with its chance under policy and judge.

    The chance is 2 P(i, j) P(i before j), P(i, j) = pi(i) pi(j) / (1 - sum_n pi(n)^2), as
    rl.data.synthetic.listed_preferences draws them in this order or in the other. Prompts have
    equal shares of the weight; it carries no gradient.
    """
    prompts, responses = chance_PN.shape
    chance_PN = chance_PN.detach()
    apart_NN = ~torch.eye(responses, dtype=torch.bool)
    both_PNN = chance_PN[:, :, None] * chance_PN[:, None, :] * apart_NN
    both_PNN = both_PNN / both_PNN.sum(dim=(1, 2), keepdim=True) / prompts
    gap_PNN = reward_PN[:, :, None] - reward_PN[:, None, :]
    first_PNN = first_chances(gap_PNN.flatten(), labelling).view_as(gap_PNN)
    weight_PNN = 2 * both_PNN * first_PNN
    prompt_M, chosen_M, rejected_M = (both_PNN > 0).nonzero().T
    return WeightedPairs(prompt_M, chosen_M, rejected_M, weight_PNN[prompt_M, chosen_M, rejected_M])


def _gold(config: TabularPreferencesConfig, texts: Texts, seed: int) -> Tensor:
    """sqrt(a) additive + sqrt(1 - a) own number, each standardised over the prompt's texts."""
    share = config.world.additive
    own_PN = _normal(torch.zeros(config.world.prompts, len(texts.token_NT)), "gold", seed)
    feature_ND = token_features(texts)
    weight_PD = _normal(torch.zeros(config.world.prompts, feature_ND.shape[1]), "gold-token", seed)
    parts = _standard(weight_PD @ feature_ND.T), _standard(own_PN)
    return _standard(math.sqrt(share) * parts[0] + math.sqrt(1 - share) * parts[1])


def _base(config: TabularPreferencesConfig, texts: Texts, seed: int) -> Tensor:
    logit_KV = _normal(torch.zeros(texts.contexts, texts.vocabulary), "base", seed)
    return text_logps(texts, (config.world.spread * logit_KV).log_softmax(dim=1))


def _features(config: TabularPreferencesConfig, texts: Texts) -> Tensor:
    name = config.reward_model.features
    if name == "prefix":
        return prefix_features(texts)
    if name == "token":
        return token_features(texts)
    return torch.eye(len(texts.token_NT), dtype=torch.float64)


def _standard(x_PN: Tensor) -> Tensor:
    apart_PN = x_PN - x_PN.mean(dim=1, keepdim=True)
    return apart_PN / apart_PN.square().mean(dim=1, keepdim=True).sqrt()


def _normal(like: Tensor, name: str, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(derive(f"preferences-{name}", seed))
    return torch.randn(like.shape, generator=generator, dtype=torch.float64)
