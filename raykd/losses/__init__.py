"""The losses alone, for training loops of your own.

    loss = raykd.losses.DKD()
    loss(student_logits, teacher_logits, labels).backward()

They are what raykd's own training minimises: ce_weight CE + kd_weight distillation, see `raykd.knowledge.objective`.
All have the defaults of `raykd distill` but for those that a paper's name stands for. They run on the device of what
they are given, compute in float32, and give the teacher no gradient.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
