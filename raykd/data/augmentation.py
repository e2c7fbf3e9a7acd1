"""How the images of a view are changed, besides padded crops and flips: which settings are in use."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from raykd.config import AugmentSettings, DataSettings
from raykd.errors import RaykdError


@dataclass(frozen=True)
class Augmentation:
    """How views change images, besides padded crops and flips: `data.augment`, `data.mixup` and `data.cutmix`.

    Settings that change nothing under the others have their defaults, so that equal views have equal augmentations.
    """

    policy: str
    magnitude: int
    operations: int
    color_jitter: float
    erasing: float
    resized_crop: float | None
    mixup: float
    cutmix: float

    @classmethod
    def of(cls, settings: DataSettings) -> Augmentation:
        """That of a data set's settings."""
        used = AugmentSettings.model_validate(settings.augment.in_use())
        return cls(**used.model_dump(), mixup=settings.mixup, cutmix=settings.cutmix)

    def in_use(self) -> dict[str, str | float]:
        """What changes images, by name."""
        neutral = asdict(NONE)
        return {name: value for name, value in asdict(self).items() if value != neutral[name]}

    @property
    def mixes(self) -> bool:
        """Whether each image is mixed with another."""
        return self.mixup > 0 or self.cutmix > 0

    def check(self, channels: int) -> None:
        """Refuse operations on colours that images of so many channels do not have.

        Raises:
            RaykdError: There are neither 1 nor 3.
        """
        for name, used in (("policy", self.policy != NONE.policy), ("color_jitter", self.color_jitter > 0)):
            if used and channels not in (1, 3):
                raise RaykdError(
                    f"data.augment.{name} {getattr(self, name)}: it is for images of 1 or 3 channels, "
                    f"and these have {channels}: leave it out"
                )


NONE = Augmentation.of(DataSettings())
"""That of the settings' defaults."""
