from .answers import DIST as DIST
from .answers import DKD as DKD
from .answers import KD as KD
from .answers import DistillationLoss as DistillationLoss
from .features import Distilled as Distilled
from .features import FeatureDistillation as FeatureDistillation
from .papers import BiasRectifiedKD as BiasRectifiedKD
from .papers import GenerousTeacherLoss as GenerousTeacherLoss
