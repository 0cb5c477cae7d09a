"""YAML and JSON from anywhere, read within limits: what a config is before its keys are known.

A file of a few kilobytes may stand for billions of values (references in YAML), or nest so deep that reading
it overflows the stack. So size, depth and number of values are checked before anything is made of them.
"""

from __future__ import annotations

import itertools
import json
import reprlib
from pathlib import Path
from typing import Any

import yaml

from fomm_lib.errors import InputError, error_text

MAX_BYTES = 1 << 20  # of a file
MAX_VALUES, MAX_DEPTH, MAX_TEXT = 10_000, 20, 10_000


def check_extent(content: Any, where: str) -> None:
    """Check that nested dicts and lists hold no more than a config can: 10,000 values in 20 levels.

    What a YAML file refers to several times (`*name`) counts as often, so that a small file cannot stand for
    billions of values.

    Raises:
        InputError: they hold more, or a key is no text.

    Example:
        >>> check_extent({"a": [1, 2]}, "here")
    """
    waiting, count = [(content, 1)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if count > MAX_VALUES or depth > MAX_DEPTH:
            what = f"{MAX_VALUES} values" if depth <= MAX_DEPTH else f"{MAX_DEPTH} levels"
            raise InputError(f"{where}: is not a config: it has more than {what}")
        if isinstance(value, yaml.Node):
            value = value.value
        elif isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise InputError(f"{where}: the key {shown(key)} should be a text")
        if isinstance(value, (str, bytes)) and len(value) > MAX_TEXT:
            raise InputError(f"{where}: is not a config: a text in it has {len(value)} characters")
        inner = itertools.chain(*value.items()) if isinstance(value, dict) else value
        if isinstance(inner, (list, tuple, set, frozenset, itertools.chain)):
            waiting += ((one, depth + 1) for one in itertools.islice(inner, MAX_VALUES))


class _Loader(yaml.SafeLoader):
    """Stops at deep nesting, before it costs time and stack."""

    depth = 0

    def compose_node(self, parent, index):
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f"it has more than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_yaml(path: Path) -> Any:
    """What a YAML file holds: nested dicts and lists, None of an empty one.

    Raises:
        InputError: it cannot be read, is no YAML, or holds more than a config can.

    Example:
        >>> sorted(read_yaml(data_path("configs", "heads-64.yaml")))
        ['dataset_params', 'model_params', 'train_params']
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: is not a config: it has more than {MAX_BYTES >> 20} MiB")
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        check_extent(node, str(path))  # before references to the same node become copies of it
        return None if node is None else loader.construct_document(node)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # not UTF-8, no YAML, an impossible date, or a tag that does not fit its text
        raise InputError(f"{path}: is not a YAML file ({error_text(error)})") from error


def read_json(text: str, where: str) -> dict[str, Any]:
    """The dict in a JSON text, e.g. the config in a file of weights.

    Raises:
        InputError: it is no JSON, no dict, or more than a config can be.

    Example:
        >>> read_json('{"system": "srgan"}', "here")
        {'system': 'srgan'}
    """
    if len(text) > MAX_BYTES:
        raise InputError(f"{where}: is not a config: it has more than {MAX_BYTES >> 20} MiB")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is no JSON ({error_text(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{where}: is no config but a {type(content).__name__}")
    check_extent(content, where)
    return content


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 3, 10, 10, 10
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 100


def shown(value: Any) -> str:
    """A value of a config for a message: as Python writes it, but short.

    Example:
        >>> shown([1, 2]), len(shown("a" * 10**6))
        ('[1, 2]', 100)
    """
    try:
        return _SHORT.repr(value)
    except ValueError:  # a whole number of more than 4300 digits
        return "a very long number"
