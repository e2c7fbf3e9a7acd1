"""How training images are changed at random, beyond the crop and the flip."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from raykd.settings import Count, Settings, Share

Policy = Literal["none", "randaugment", "trivialaugment"]
STRONGEST = 30
"""The strongest magnitude of RandAugment; torchvision has so many steps above none."""


class AugmentSettings(Settings):
    """How training images are changed at random; every change is torchvision's."""

    policy: Policy = "none"
    """randaugment: so many `operations` on each image, drawn from 14 (arXiv 1909.13719); trivialaugment: one, of a
    magnitude that is drawn as well, up to strong ones (arXiv 2103.10158); none."""
    magnitude: Annotated[int, Field(ge=0, le=STRONGEST)] = 9
    """randaugment: how strong the operations are."""
    operations: Count = 2
    """randaugment: operations on each image, one after the other."""
    color_jitter: Share = 0.0
    """Brightness, contrast and saturation are each multiplied by a factor that differs from 1 by so much at most, in an
    order that is drawn. 0: not."""
    erasing: Share = 0.0
    """Share of the images of which a rectangle is painted over with the data's mean colour (arXiv 1708.04896)."""
    resized_crop: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Random resized crops: the smallest share of the image's area that one keeps; in memory, they stand in for the
    crop of `crop_padding`. None: none in memory, and 0.08 of images in folders, as is usual for ImageNet."""

    def in_use(self) -> dict[str, str | float]:
        """The settings that change an image, by name."""
        used: dict[str, str | float] = {}
        if self.policy != "none":
            used["policy"] = self.policy
        if self.policy == "randaugment":
            used |= {"magnitude": self.magnitude, "operations": self.operations}
        if self.color_jitter:
            used["color_jitter"] = self.color_jitter
        if self.erasing:
            used["erasing"] = self.erasing
        if self.resized_crop is not None:
            used["resized_crop"] = self.resized_crop
        return used
