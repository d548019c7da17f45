"""A linear Bradley-Terry reward, fitted to weighted pairs of listed responses by Newton's method.

Axis letters: P prompts, N responses, D features, M pairs.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rl.losses.reward import bradley_terry

MOST_STEPS = 200
AT_REST = 1e-10  # largest entry of the gradient at which the fit is done


def fit_reward(
    feature_ND: Float[Tensor, "N D"],
    *,
    prompt_M: Int[Tensor, " M"],
    chosen_M: Int[Tensor, " M"],
    rejected_M: Int[Tensor, " M"],
    weight_M: Float[Tensor, " M"],
    prompts: int,
    l2: float,
) -> Float[Tensor, "P N"]:
    """r(y) = <w_p, f(y)> at the least of sum_m weight_m BT_m + (l2 / 2) sum_p |w_p|^2.

    Each prompt has weights of its own. The ridge makes the least the only one, finite even where
    one response always wins, and leaves what no pair tells of at 0: with a feature a response,
    those that no pair holds; with features that responses share, they have part in others' scores.

    Args:
        feature_ND: f of each response, the same of every prompt.
        prompt_M, chosen_M, rejected_M: pairs, numbers of prompts and responses.
        weight_M: of each pair; 1 / M for the mean over M draws.
        prompts: P.
        l2: over 0.

    Returns:
        Scores [P, N], nats of the labels' log-odds.

    Raises:
        ValueError: an l2 that is not over 0.
        FloatingPointError: the fit did not come to rest.
    """
    if not l2 > 0:
        raise ValueError(f"l2: expected a number over 0, got {l2}")
    responses, features = feature_ND.shape
    at_M = (prompt_M * responses + chosen_M) * responses + rejected_M
    weight_PNN = torch.zeros(prompts * responses**2, dtype=torch.float64)
    weight_PNN = weight_PNN.index_add(0, at_M, weight_M.double()).view(prompts, responses, -1)
    eye_DD = l2 * torch.eye(features, dtype=torch.float64)
    w_PD = torch.zeros(prompts, features, dtype=torch.float64)

    def objective(w_PD: Tensor) -> float:
        score_PN = w_PD @ feature_ND.T
        loss_M = bradley_terry(
            score_PN[prompt_M, chosen_M], score_PN[prompt_M, rejected_M], margin_B=None
        )
        return float((weight_M * loss_M).sum() + l2 / 2 * w_PD.square().sum())

    for _ in range(MOST_STEPS):
        score_PN = w_PD @ feature_ND.T
        wrong_PNN = torch.sigmoid(score_PN[:, None, :] - score_PN[:, :, None])
        push_PNN = weight_PNN * wrong_PNN  # -dBT / ds of the chosen, +dBT / ds of the rejected
        slope_PN = push_PNN.sum(dim=1) - push_PNN.sum(dim=2)
        slope_PD = slope_PN @ feature_ND + l2 * w_PD
        if float(slope_PD.abs().max()) < AT_REST:
            return w_PD @ feature_ND.T
        bend_PNN = push_PNN * (1 - wrong_PNN)
        bend_PNN = bend_PNN + bend_PNN.transpose(1, 2)
        curve_PNN = torch.diag_embed(bend_PNN.sum(dim=2)) - bend_PNN
        curve_PDD = feature_ND.T @ curve_PNN @ feature_ND + eye_DD
        step_PD = torch.linalg.solve(curve_PDD, slope_PD[..., None])[..., 0]
        # A whole step may overshoot where the logistic is flat; near the least it never does.
        before, down, factor = objective(w_PD), float((slope_PD * step_PD).sum()), 1.0
        while objective(w_PD - factor * step_PD) > before - 1e-4 * factor * down and down > 1e-12:
            factor /= 2
        w_PD = w_PD - factor * step_PD
    raise FloatingPointError(
        f"the reward did not come to rest in {MOST_STEPS} Newton steps; raise l2, which is {l2}"
    )
