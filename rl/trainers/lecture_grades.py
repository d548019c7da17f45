"""What a sorting policy has learned, on all prompts of its vocabulary and by enumeration."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rl.worlds.lecture_sorting import Exam, LectureSorter, Reward, all_sequences, kl_per_prompt

Graded = dict[str, float | dict[float, float]]


class Grades:
    """Exact metrics of a policy, on the prompts it trains on and on those held out.

    Held-out are all others of the vocabulary; where a metric does not say otherwise only those of
    distinct tokens, which the lecture's prompts are too.
    """

    def __init__(
        self, reward: Reward, trained_on: Sequence[Sequence[int]], *, vocabulary: int
    ) -> None:
        prompt_QT = all_sequences(vocabulary, len(trained_on[0]))
        self._exam = Exam(reward, prompt_QT.tolist(), vocabulary=vocabulary)
        match_QP = (prompt_QT[:, None] == torch.tensor(trained_on)[None]).all(dim=2)
        sorted_QT = prompt_QT.sort(dim=1).values
        self._distinct_Q = 1 + (sorted_QT[:, 1:] != sorted_QT[:, :-1]).sum(dim=1)
        self._train_Q = match_QP.any(dim=1)
        self._heldout_Q = ~self._train_Q
        self._like_train_Q = self._heldout_Q & (self._distinct_Q == prompt_QT.shape[1])

    @torch.no_grad()
    def of(
        self, model: LectureSorter, *, reference: LectureSorter, initial: LectureSorter
    ) -> Graded:
        """Values of the metrics that rl.metrics documents under these names."""
        prompt_QT = self._exam.prompt_PT.to(model.embedding.device)
        logits_QTV, reference_QTV, initial_QTV = (
            policy(prompt_QT).cpu() for policy in (model, reference, initial)
        )
        grade_Q = self._exam.grade(logits_QTV)
        train, like_train = self._train_Q, self._like_train_Q
        return {
            **{
                f"sorting/{name}": _mean(grade_Q[grade], train)
                for name, grade in (
                    ("expected_reward", "reward"),
                    ("exact", "exact"),
                    ("hacked", "hacked"),
                    ("modal_reward", "modal_reward"),
                    ("entropy", "entropy"),
                )
            },
            "sorting/heldout_reward": _mean(grade_Q["reward"], like_train),
            "sorting/heldout_exact": _mean(grade_Q["exact"], like_train),
            "sorting/heldout_hacked": _mean(grade_Q["hacked"], self._heldout_Q),
            "sorting/heldout_exact_by_distinct": self._by_distinct(grade_Q["exact"]),
            "sorting/kl_reference": _mean(kl_per_prompt(logits_QTV, reference_QTV), train),
            "sorting/kl_initial": _mean(kl_per_prompt(logits_QTV, initial_QTV), train),
        }

    def _by_distinct(self, value_Q: Tensor) -> dict[float, float]:
        """Mean over held-out prompts, by how many distinct tokens they have."""
        return {
            float(level): _mean(value_Q, self._heldout_Q & (self._distinct_Q == level))
            for level in self._distinct_Q.unique().tolist()
            if bool((self._heldout_Q & (self._distinct_Q == level)).any())
        }


def _mean(value_Q: Tensor, pick_Q: Tensor) -> float:
    return float(value_Q[pick_Q].mean())
