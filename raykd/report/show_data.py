"""The command `raykd show data`: a contact sheet of training images as a student sees them, with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from raykd.command_line import parse, read_words
from raykd.config import DataSettings, Experiment
from raykd.data import Batch, DataInfo, evaluation_batches, load_data, training_batches
from raykd.errors import RaykdError, shortened, unknown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor

COLUMNS = 8
"""Images in a row."""
INCHES = 1.5
"""Width of an image on the sheet."""
MOST = 1024
"""Images on a sheet."""
LONGEST_NAME = 12
"""Letters of a class's name above an image."""


@dataclass(frozen=True)
class Options:
    """Draw training images as a student will see them, with their labels, before anything is trained.

    The first row shows images as they are, the row below the same ones augmented, and the further rows more of the
    view. A mixed image has both labels and their shares. Takes all settings of a study as well
    (`--data.augment.policy randaugment`; all of them: raykd tune --help-all), and --config FILE_OR_RECIPE.
    """

    output: Path
    """Picture to write; .png, .pdf or .svg."""
    images: int = 32
    """Augmented images to draw."""
    view: int = 0
    """Number of the view: an epoch of the training, from 0."""


def main(arguments: Sequence[str]) -> None:
    """Draw the images that the command line describes.

    Raises:
        RaykdError: A setting or option is wrong, or the data or an image cannot be read.
    """
    kind, *words = arguments or ["--help"]
    if {"-h", "--help"} & {kind, *words}:
        read_words(Options, ["--help"], "raykd show data")
    if kind != "data":
        raise unknown_name("kind", kind, ["data"], "raykd show")
    options, rest = read_words(Options, words, "raykd show data")
    experiment = parse(Experiment(), "", rest, [each.name for each in fields(Options)], "raykd show data")
    if not 1 <= options.images <= MOST:
        raise RaykdError(f"--images must be between 1 and {MOST}, not {options.images}")
    if options.view < 0:
        raise RaykdError(f"--view must be 0 or more, not {options.view}")
    if options.output.suffix not in (".png", ".pdf", ".svg"):
        raise RaykdError(f"--output {options.output} is no picture: give a name that ends in .png, .pdf or .svg")
    draw(experiment.data, options)
    print(f"written: {options.output}")


def draw(settings: DataSettings, options: Options) -> None:
    """Draw the first images of a view into a file.

    Raises:
        RaykdError: The data or an image cannot be read.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    before, after, info = seen(settings, options.images, options.view)
    columns = min(COLUMNS, len(after))
    rows = 1 + -(-len(after) // columns)
    shape = INCHES * columns, (INCHES * info.height / info.width + 0.3) * rows + 0.4
    figure = Figure(figsize=shape, layout="constrained")
    figure.suptitle(
        f"{info.name}, training images of view {options.view}: as they are, and as students see them", size=9
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place in range(columns):
        _draw(grid[0][place], before.pixels[place], f"{_name(info, int(before.labels[place]))}, as it is")
    for number, pixels in enumerate(after.pixels):
        _draw(grid[1 + number // columns][number % columns], pixels, caption(after, number, info))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(options.output, dpi=120)


def seen(settings: DataSettings, images: int, view: int) -> tuple[Batch, Batch, DataInfo]:
    """The first images of a view as they are, and as students see them; and the data.

    Of images in files, no others are decoded.

    Raises:
        RaykdError: The data or an image cannot be read.
    """
    # Processes of a loader would take longer to start than to decode a sheet.
    data = replace(load_data(settings), loader_processes=0)
    after = next(iter(training_batches(data, batch_size=images).epoch(view)))
    chosen = data.split("train").take(after.indices.numpy())
    alone = replace(data, splits={**data.splits, "train": chosen})
    (before,) = evaluation_batches(alone, "train", batch_size=images)
    return before, after, data.info


def caption(batch: Batch, number: int, info: DataInfo) -> str:
    """The label of an image of a batch, or both with their shares, such as ``0.70 cat + 0.30 dog``."""
    label = _name(info, int(batch.labels[number]))
    if batch.mixed is None:
        return label
    share, other = float(batch.mixed.shares[number]), _name(info, int(batch.mixed.others[number]))
    return label if round(share, 2) == 1 or other == label else f"{share:.2f} {label}\n+ {1 - share:.2f} {other}"


def _name(info: DataInfo, label: int) -> str:
    # Without dollar signs, between which matplotlib reads formulas.
    return shortened(info.class_names[label], LONGEST_NAME).replace("$", r"\$")


def _draw(axes: Axes, pixels: Tensor, text: str) -> None:
    """One image, float32 (C, H, W) in [0, 1]; of other channels than 1 or 3 the first."""
    shown = pixels if pixels.shape[0] == 3 else pixels[:1]
    axes.imshow(shown.permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(text, size=6, pad=2)
