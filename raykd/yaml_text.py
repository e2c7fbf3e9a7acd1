"""YAML as raykd reads and writes it."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

import yaml

_EXPONENT_ONLY = re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-4` is a number (YAML 1.1 takes it for text) and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


# Each trial's settings are written when it starts, which libyaml does in a tenth of the time.
class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes what `read_text` reads back unchanged."""


for _side in (_Loader, Dumper):
    _side.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT_ONLY, list("-+0123456789"))
Dumper.add_multi_representer(PurePath, lambda dumper, path: dumper.represent_str(str(path)))


def read_text(text: str) -> Any:
    """What YAML text holds.

    Raises:
        ValueError: it is not valid; the message is a line that says why, and in which line of the text.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        raise ValueError(f"character {error.position + 1} is none that a text may hold: {error.reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "context", None) or error
        raise ValueError(f"{line}{' '.join(str(problem).split())}") from error
    except RecursionError:
        raise ValueError("lists and names are nested too deeply") from None
    except (ValueError, TypeError, OverflowError) as error:
        # Of dates that there are not, numbers of thousands of digits, and the like.
        raise ValueError(f"a value cannot be read: {' '.join(str(error).split())}") from error
