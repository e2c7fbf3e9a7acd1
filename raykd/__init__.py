"""raykd: knowledge distillation of image classifiers, tuned at cluster scale.

Names are imported when they are first used (``__init__.pyi`` says from where): `import raykd` costs neither torch nor
Ray nor MLflow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
