"""raykd: knowledge distillation of image classifiers, tuned at cluster scale.

Names are imported when they are first used (``__init__.pyi`` says from where): `import raykd` costs neither torch nor
Ray nor MLflow.
"""

import os

import lazy_loader

if os.path.expanduser("~") == "~":
    # A container's user may have no home folder. Ray cannot be imported then; this is what containers usually set.
    os.environ["HOME"] = "/"

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
