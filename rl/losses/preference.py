"""Losses of preferences a pair, to be minimised. One door, `preference_loss`.

Each compares a number of the chosen response with the same number of the rejected one, and is a
function of their difference. Axis letter: B pairs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class Pairs:
    """Log-probabilities of whole responses, sums over their tokens, EOS included; nats [B].

    Those of the policy carry the gradient, those of the reference never do. Without a reference
    both of its fields are None. Lengths are the tokens summed over, 1 or more.
    """

    chosen_B: Tensor
    rejected_B: Tensor
    ref_chosen_B: Tensor | None
    ref_rejected_B: Tensor | None
    chosen_length_B: Tensor  # int64
    rejected_length_B: Tensor  # int64


@dataclass(frozen=True)
class Settings:
    """What a loss of a difference reads beside it."""

    beta: float
    gamma: float
    label_smoothing: float


def preference_loss(
    pairs: Pairs,
    *,
    name: str,
    beta: float,
    label_smoothing: float,
    gamma: float | None = None,
) -> Float[Tensor, " B"]:
    """The loss that LOSSES has under `name`, of each pair.

    Below, y_w is the chosen response, y_l the rejected one, |y| a response's tokens, and log pi(y)
    the SUM of its tokens' log-probabilities.

        dpo        logistic of the difference in log pi(y) / pi_ref(y)
        dpo_mean   logistic of the difference in (1 / |y|) log pi(y) / pi_ref(y)
        ipo        squared, of the difference in log pi(y) / pi_ref(y)
        ipo_mean   squared, of the difference in (1 / |y|) log pi(y) / pi_ref(y)
        simpo      logistic, less gamma, of the difference in (1 / |y|) log pi(y); no reference

    Where all responses have one length L, dpo_mean at beta is dpo at beta / L, and ipo_mean at
    beta is ipo at beta / L, over L^2.

    Args:
        pairs: log-probabilities and lengths.
        name: key of LOSSES.
        beta: weight of the difference, over 0: reward a nat, or with a mean reward a nat a token.
            In ipo and ipo_mean it is the tau of 2310.12036.
        label_smoothing: epsilon in [0, 0.5), the share of labels held to be flipped; 0 for a loss
            that is not in SMOOTHED.
        gamma: margin of simpo, 0 or more, in the unit of the reward; None for all others. (The
            paper's code and others give the ratio gamma / beta in its place.)

    Returns:
        Loss a pair [B]: nats of the logistic losses, squared nats of the squared ones.

    Raises:
        ValueError: an unknown name, shapes or types that do not fit, a length below 1, a reference
            missing or not wanted, or a setting out of range.
    """
    _check(pairs, name)
    if not 0 < beta < math.inf:
        raise ValueError(f"beta: expected a number over 0, got {beta}")
    most = 0.5 if name in SMOOTHED else 0.0
    if not (0 <= label_smoothing < most or label_smoothing == 0):
        raise ValueError(
            f"label_smoothing: expected a number in [0, 0.5) for {', '.join(SMOOTHED)}, and 0 for "
            f"all others, got {label_smoothing} for {name}"
        )
    wanted = name == "simpo"
    if wanted != (gamma is not None) or (gamma is not None and not 0 <= gamma < math.inf):
        raise ValueError(
            f"gamma: expected a number >= 0 for simpo, and None for all others, got {gamma} for "
            f"{name}"
        )
    compared, loss = LOSSES[name]
    chosen_B, rejected_B = compared(pairs)
    return loss(chosen_B - rejected_B, Settings(beta, gamma or 0.0, label_smoothing))


def implicit_rewards(
    pairs: Pairs, *, name: str, beta: float
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """beta times what the loss compares, of the chosen and of the rejected responses.

    Of dpo and ipo it is beta log pi(y) / pi_ref(y), the reward that the policy is optimal for, up
    to a constant of the prompt (2305.18290, section 4, eq. 5). The margin is the difference of the
    two; `rl.losses.reward.accuracies` of the margin tells where it is right.

    Returns:
        (chosen [B], rejected [B]) in the unit of the reward, without a gradient.

    Raises:
        ValueError: as preference_loss.
    """
    _check(pairs, name)
    if not 0 < beta < math.inf:
        raise ValueError(f"beta: expected a number over 0, got {beta}")
    chosen_B, rejected_B = LOSSES[name][0](pairs)
    return beta * chosen_B.detach(), beta * rejected_B.detach()


def log_ratios(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """log pi(y) / pi_ref(y) of both responses, summed over tokens."""
    if pairs.ref_chosen_B is None or pairs.ref_rejected_B is None:
        raise ValueError(
            "reference: expected its log-probabilities of both responses, got None; of the losses "
            f"only {', '.join(WITHOUT_REFERENCE)} does without"
        )
    return (
        pairs.chosen_B - pairs.ref_chosen_B.detach(),
        pairs.rejected_B - pairs.ref_rejected_B.detach(),
    )


def mean_log_ratios(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """(1 / |y|) log pi(y) / pi_ref(y) of both responses."""
    chosen_B, rejected_B = log_ratios(pairs)
    return chosen_B / pairs.chosen_length_B, rejected_B / pairs.rejected_length_B


def mean_logps(pairs: Pairs) -> tuple[Tensor, Tensor]:
    """(1 / |y|) log pi(y) of both responses."""
    return (
        pairs.chosen_B / pairs.chosen_length_B,
        pairs.rejected_B / pairs.rejected_length_B,
    )


def logistic(apart_B: Tensor, s: Settings) -> Tensor:
    """-(1 - eps) log sigma(z) - eps log sigma(-z), z = beta h - gamma of the difference h.

    With eps = gamma = 0, of sums, it is DPO (2305.18290, eq. 7), whose gradient with respect to h
    is -beta sigma(-z): largest where the implicit reward is wrong. Of means it is length-normalised
    DPO (Tulu 3, 2411.15124, section 5); of means without a reference, with gamma, SimPO
    (2405.14734, eq. 6). With eps it is conservative DPO (Mitchell 2023): the mean loss over labels
    of which a share eps is flipped, least at sigma(z) = 1 - eps.
    """
    z_B = s.beta * apart_B - s.gamma
    return -(1 - s.label_smoothing) * logsigmoid(z_B) - s.label_smoothing * logsigmoid(-z_B)


def squared(apart_B: Tensor, s: Settings) -> Tensor:
    """(h - 1 / (2 beta))^2 of the difference h.

    IPO (2310.12036, eq. 17), where h is one of sums; TRL's loss of this name has one of means. Its
    least is at a finite h, also where one response always wins.
    """
    return (apart_B - 1 / (2 * s.beta)).square()


def _check(pairs: Pairs, name: str) -> None:
    if name not in LOSSES:
        raise ValueError(f"name: expected one of {', '.join(LOSSES)}, got {name!r}")
    references = [x for x in (pairs.ref_chosen_B, pairs.ref_rejected_B) if x is not None]
    if name in WITHOUT_REFERENCE and references:
        raise ValueError(f"reference: expected None for {name}, which reads none")
    logps = [pairs.chosen_B, pairs.rejected_B, *references]
    lengths = [pairs.chosen_length_B, pairs.rejected_length_B]
    shapes = [tuple(x.shape) for x in (*logps, *lengths)]
    if len(shapes[0]) != 1 or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"expected log-probabilities and lengths of one shape [B], got {shapes}")
    if not all(x.is_floating_point() for x in logps) or any(
        x.dtype != torch.int64 for x in lengths
    ):
        raise ValueError(
            "expected log-probabilities in floating point and lengths in int64, got "
            f"{', '.join(str(x.dtype) for x in (*logps, *lengths))}"
        )
    if any(bool((length_B < 1).any()) for length_B in lengths):
        raise ValueError("expected lengths of 1 token or more, got a response without tokens")


# What is compared, and the loss of the difference.
LOSSES: dict[
    str,
    tuple[Callable[[Pairs], tuple[Tensor, Tensor]], Callable[[Tensor, Settings], Tensor]],
] = {
    "dpo": (log_ratios, logistic),  # 2305.18290, eq. 7
    "dpo_mean": (mean_log_ratios, logistic),  # 2411.15124, section 5
    "ipo": (log_ratios, squared),  # 2310.12036, eq. 17
    "ipo_mean": (mean_log_ratios, squared),  # as TRL has it
    "simpo": (mean_logps, logistic),  # 2405.14734, eq. 6
}
SMOOTHED = ("dpo", "dpo_mean")  # the losses that may have label smoothing
WITHOUT_REFERENCE = ("simpo",)
