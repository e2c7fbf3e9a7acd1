"""Whatever the bytes are, what reads them gives a result or an error of one or two lines."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from raykd.command_line import parse
from raykd.config import Experiment
from raykd.data.cifar import LAYOUTS, _field
from raykd.data.fashion_mnist import read_idx
from raykd.database_urls import hide_password, split_study, with_absolute_path, without_password
from raykd.errors import RaykdError, listed, shortened, unknown_name
from raykd.imports import import_object
from raykd.models import load_weights
from raykd.search.space_file import load_space
from raykd.search.storage import storage_address
from raykd.settings_io import experiment_from_yaml, load_experiment, setting_names
from raykd.training.folder import DESCRIPTION, description

BASE = Experiment()
EXAMPLES = settings(max_examples=60, deadline=None)
NAMES = st.sampled_from(setting_names()) | st.text(max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(NAMES, each, max_size=3), max_leaves=5
)
ENTRIES = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("low", "high", "step", "log", "choices", "when", "default", "lwo"), VALUES)
)


def answered(read: Callable[[], object]) -> None:
    """It gives something, or an error of at most two lines that shows nothing of the libraries behind it."""
    try:
        read()
    except RaykdError as error:
        message = str(error)
        assert message.strip()
        assert message.count("\n") <= 1
        assert "pydantic" not in message
        assert len(message) <= 1000


def in_a_file(content: bytes, read: Callable[[Path], object], name: str = "file") -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        answered(lambda: read(path))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@EXAMPLES
def test_any_bytes_as_a_file_of_settings_or_a_space(content: bytes) -> None:
    in_a_file(content, lambda path: load_experiment(path, BASE))
    in_a_file(content, lambda path: load_space(str(path), BASE))


@given(st.dictionaries(NAMES, VALUES, max_size=4))
@EXAMPLES
def test_any_mapping_as_settings(content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content, allow_unicode=True)
    answered(lambda: experiment_from_yaml(text, BASE, "mine.yaml"))


@given(st.dictionaries(NAMES | st.just("start"), ENTRIES | VALUES, min_size=1, max_size=3))
@EXAMPLES
def test_any_mapping_as_a_space(content: dict[str, Any]) -> None:
    in_a_file(yaml.safe_dump(content).encode(), lambda path: load_space(str(path), BASE))


@given(
    st.lists(
        st.sampled_from(["--study.trials", "--bias.form=", "--student.arguments", "=", "--", "-x"])
        | st.text(max_size=8),
        max_size=4,
    )
)
@settings(max_examples=15, deadline=None)
def test_any_words_as_a_command_line(words: list[str]) -> None:
    if not {"-h", "--help"} & set(words):
        answered(lambda: parse(BASE, "", words))


@given(st.binary(max_size=60), st.sampled_from([b"", b"\0\0\x08\x01", b"\0\0\x08\x03", b"\x1f\x8b"]))
@EXAMPLES
def test_any_bytes_as_idx(content: bytes, start: bytes) -> None:
    for name in ("labels", "labels.gz"):
        in_a_file(start + content, lambda path: read_idx(path, dimensions=1), name)


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=3, max_size=3))
@EXAMPLES
def test_any_shape_of_idx(shape: list[int]) -> None:
    in_a_file(b"\0\0\x08\x03" + struct.pack(">3i", *shape) + bytes(12), lambda path: read_idx(path, dimensions=3))


@given(st.binary(max_size=80), st.sampled_from([b"", b"\x80\x02}(", b"\x80\x04", b"PK\x03\x04"]))
@EXAMPLES
def test_any_bytes_as_a_pickle_or_weights(content: bytes, start: bytes) -> None:
    layout = LAYOUTS["cifar10"]
    in_a_file(start + content, lambda path: _field(path, layout.labels, list))
    for name in ("w.pt", "w.safetensors"):
        in_a_file(start + content, lambda path: load_weights(nn.Linear(3, 2), path, "own", exact=False), name)


@given(st.binary(max_size=80) | st.sampled_from([b"{", b"[]", b"null", b"3", b'{"data": 3}']))
@EXAMPLES
def test_any_bytes_as_the_description_of_a_model(content: bytes) -> None:
    in_a_file(content, lambda path: description(path.parent), DESCRIPTION)


ADDRESSES = st.text(max_size=30) | st.builds(
    "{}://{}".format, st.sampled_from(["postgresql", "sqlite", "journal", "s3", "http"]), st.text(max_size=20)
)


@given(ADDRESSES)
@EXAMPLES
def test_any_text_as_an_address(text: str) -> None:
    answered(lambda: storage_address(text, Path("/here")))
    for read in (hide_password, without_password, split_study, lambda each: with_absolute_path(each, Path("/here"))):
        read(text)
    values = {"data.root": text, "cluster.storage": text, "teacher.source": text, "tracking.uri": text}
    answered(lambda: experiment_from_yaml(yaml.safe_dump(values), BASE, "mine.yaml"))


@given(st.text(max_size=12).filter(lambda text: "." not in text or ":" not in text))
@EXAMPLES
def test_any_text_as_an_import_path(text: str) -> None:
    with pytest.raises(RaykdError) as refused:
        import_object(f"no_such_package.{text}:{text}", "data.name")
    assert str(refused.value).count("\n") <= 1


@given(st.text(max_size=400), st.integers(20, 80))
@EXAMPLES
def test_what_is_shortened_fits_and_is_not_cut_in_a_word(text: str, most: int) -> None:
    words, short = text.split(), shortened(text, most)
    assert len(short) <= most
    assert "\n" not in short
    if short.endswith(" ...") and len(words[0]) <= most - 4:
        assert short.removesuffix(" ...").split() == words[: len(short.split()) - 1]
    elif not short.endswith(" ..."):
        assert short == " ".join(words)


@given(st.lists(st.text("abc", min_size=1, max_size=9), max_size=60))
@EXAMPLES
def test_a_list_of_names_says_how_many_it_leaves_out(names: list[str]) -> None:
    text, _, more = listed(names, most=50).partition(" and ")
    kept = text.split(", ") if text else []
    assert kept == names[: len(kept)]
    assert len(kept) + int(more.split()[0] if more else 0) == len(names)


def test_the_nearest_name_is_found_whatever_the_length() -> None:
    assert len(str(unknown_name("setting", "x" * 10_000, setting_names()))) < 500
