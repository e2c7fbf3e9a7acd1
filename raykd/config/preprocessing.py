"""How images become what a network takes."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from raykd.settings import Count, CountOrZero, Positive, Settings

Crop = Literal["center", "squash"]
Interpolation = Literal["bilinear", "bicubic", "nearest"]
Mean = tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
Std = tuple[Positive, ...]


class PreprocessingSettings(Settings):
    """How a finished network wants its images. None: as its weights or its folder say, else as the student's are."""

    image_size: Count | None = None
    """Height and width in pixels that the given teacher wants; it is shown the student's images, resized. None: as its
    weights say (torchvision, timm, raykd), else the student's."""
    resize: CountOrZero | None = None
    """As data.resize, of the held-out images as the given teacher is shown them. None: as its weights say, else as
    data.resize."""
    crop: Crop | None = None
    """As data.crop, for the given teacher. None: as its weights say, else as data.crop."""
    interpolation: Interpolation | None = None
    """As data.interpolation, for the given teacher. None: as its weights say, else as data.interpolation."""
    mean: Annotated[Mean, Field(min_length=1)] | None = None
    """Mean that the given teacher was trained with, of images in [0, 1]: one number, or one a channel. None: as its
    weights say, else the data's."""
    std: Annotated[Std, Field(min_length=1)] | None = None
    """Standard deviation that goes with `mean`."""

    @model_validator(mode="after")
    def _can_be_resized(self) -> Self:
        if self.resize == 0 and self.crop == "squash":
            raise ValueError("resize 0 does not resize images, and crop squash resizes them: leave one out")
        return self

    @property
    def preprocessing(self) -> PreprocessingSettings:
        """These settings alone."""
        return PreprocessingSettings(**{name: getattr(self, name) for name in PreprocessingSettings.model_fields})

    def over(self, others: PreprocessingSettings) -> PreprocessingSettings:
        """These settings, and the others where these say nothing."""
        values = self.preprocessing.model_dump(exclude_none=True)
        return PreprocessingSettings(**(others.preprocessing.model_dump(exclude_none=True) | values))
