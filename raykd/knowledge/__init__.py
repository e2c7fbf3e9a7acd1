"""Distillation as pure tensor functions: temperature, methods, bias, schedule, hints and the objective made of them.

Nothing here reads or writes files or uses Ray. The argument order is always (student, teacher, labels). Names are
imported when they are first used (``__init__.pyi`` lists their modules), since the settings of the methods are read
without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
