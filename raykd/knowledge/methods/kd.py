"""Plain knowledge distillation."""

import torch
from torch import Tensor
from torch.nn import functional as F


def kd(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Return KL(softmax(teacher) || softmax(student)) [B], in nats, of tempered logits [B, C].

    Hinton et al., arXiv 1503.02531, section 2. The labels are not used.
    """
    log_p = torch.log_softmax(teacher, dim=1)
    log_q = torch.log_softmax(student, dim=1)
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)
