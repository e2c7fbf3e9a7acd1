"""Networks with a distillation token (DeiT): one head answers for the labels, the other for the teacher.

Touvron et al., Training data-efficient image transformers & distillation through attention, arXiv 2012.12877,
section 4: the cross-entropy is that of the class token's head, the distillation loss that of the distillation token's,
and the network answers with both: by their mean in timm, in training mode as well unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from raykd.config import TrainingSpec

CONVENTION = "set_distilled_training"
"""The method by which timm's networks with a distillation token are known."""
CLASS_HEAD, TOKEN_HEAD = "head", "head_dist"
"""How timm calls the two heads, beside each other in the network or in a part of it."""


@dataclass(frozen=True)
class TokenHeads:
    """Names of the layers that give the logits [B, classes] of the class token and of the distillation token."""

    labels: str
    teacher: str

    @property
    def layers(self) -> tuple[str, ...]:
        """Both names."""
        return self.labels, self.teacher

    def of(self, features: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Both heads' logits, of the features of these layers."""
        return features[self.labels], features[self.teacher]


def find_token_heads(spec: TrainingSpec, network: nn.Module) -> TokenHeads | None:
    """The heads that a student learns with; None: it has one, or nothing is distilled from its teacher's answers."""
    distils = spec.needs_teacher and spec.objective.distils and spec.method.chosen_for_answers() is not None
    if not distils or not hasattr(network, CONVENTION):
        return None
    names = {name for name, _ in network.named_modules()}
    for name in sorted(names):
        parent, dot, last = name.rpartition(".")
        if last == TOKEN_HEAD and f"{parent}{dot}{CLASS_HEAD}" in names:
            return TokenHeads(f"{parent}{dot}{CLASS_HEAD}", name)
    return None
