"""YAML files as plain data that remembers where each part stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from moreton.config.faults import ConfigRefused, Fault, Location
from moreton.config.files import Prints, prints, yaml_files

Pointer = tuple[str | int, ...]
_BYTES_MAX = 32 * 1024 * 1024
_DEPTH_MAX = 64
# What aliases repeat: a thousand routes may share a hundred values each, and ten anchors, each ten
# times the one before, may not fill the memory.
_REPEATED_MAX = 100_000
_DATE = "tag:yaml.org,2002:timestamp"
_TAGS = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C where it was built


@dataclass(slots=True)
class Document:
    """The merged content of one file or of a folder's files."""

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    prints: Prints = field(default_factory=dict)  # of the files, just before they were read
    _places: dict[Pointer, tuple[str, int, int]] = field(default_factory=dict)

    def where(self, pointer: Sequence[str | int]) -> Location | None:
        """Where *pointer* stands: a key for a mapping's member; the nearest parent if unknown."""
        parts = tuple(pointer)
        while parts:
            found = self._places.get(parts)
            if found is not None:
                return Location(*found)
            parts = parts[:-1]
        return Location(self.path.name, 1, 1)


def load_document(path: Path) -> Document:
    """Read *path*, a file or a folder whose `*.yaml` files are merged by section.

    Raises `ConfigRefused` for what cannot be read or is not YAML, for a key written twice in a
    file, and for a name defined in two files.
    """
    document = Document(path)
    faults: list[Fault] = []
    files = files_of(path)
    document.prints = prints(files)
    for file in files:
        root = compose(file)
        if root is None:
            continue
        if not isinstance(root, yaml.MappingNode):
            where = _place(file.name, root)
            raise ConfigRefused(
                [Fault("the file is not a mapping", "begin it with `version: 1`", where)]
            )
        reader = _Reader(document, file.name, faults)
        _merge(document, reader.mapping(root, ()), faults, file.name)
    if faults:
        raise ConfigRefused(faults)
    return document


def files_of(path: Path) -> list[Path]:
    """*path* itself, or the `*.yaml` files of the folder that it is."""
    if path.is_dir():
        found = yaml_files(path)
        if not found:
            raise ConfigRefused(
                [
                    Fault(
                        f"the folder {path} has no *.yaml file",
                        "write one, or let `moreton init` write a first one",
                        prevents="there is nothing to run",
                    )
                ]
            )
        return found
    return [path]


def compose(file: Path) -> yaml.Node | None:
    """The nodes of *file*, each of which knows its place; raises `ConfigRefused`."""
    try:
        if file.stat().st_size > _BYTES_MAX:
            raise ConfigRefused(
                [Fault(f"{file} is larger than {_BYTES_MAX} bytes", "split it into a folder")]
            )
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigRefused(
            [
                Fault(
                    f"there is no {file}",
                    "write one, or let `moreton init` write a first one",
                    prevents="there is nothing to run",
                )
            ]
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigRefused(
            [Fault(f"{file} cannot be read: {reason}", "check the file and its permissions")]
        ) from error
    loader = _Loader(text)
    try:
        root: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Location(file.name, mark.line + 1, mark.column + 1) if mark else None
        problem = f"this is not YAML: {error.problem or error.context}"
        raise ConfigRefused([Fault(problem, "mend the line or the one above it", where)]) from error
    except yaml.YAMLError as error:
        raise ConfigRefused(
            [Fault(f"{file} is not YAML: {error}", "remove what is not text")]
        ) from error
    finally:
        loader.dispose()
    if root is not None and "&" in text:
        _bound_repeats(root, file.name)
    return root


def _bound_repeats(root: yaml.Node, file: str) -> None:
    """Refuse what is small in the file and fills the memory once its aliases are followed."""
    sizes = _sizes(root, file)
    if sizes[id(root)] - len(sizes) <= _REPEATED_MAX:
        return
    node: yaml.Node | None = root
    while node is not None:
        found = node
        node = next((one for one in _inside(found) if sizes[id(one)] > _REPEATED_MAX), None)
    what = f"aliases (`*name`) make {sizes[id(root)]} values of the file's {len(sizes)}"
    todo = f"repeat {_REPEATED_MAX} values at most"
    raise ConfigRefused([Fault(what, todo, _place(file, found))])


def _sizes(root: yaml.Node, file: str) -> dict[int, int]:
    """How many values each node is, with what it repeats; by the nodes' identities."""
    sizes: dict[int, int] = {}
    within: set[int] = set()
    left = [(root, False)]
    while left:
        node, done = left.pop()
        inside = _inside(node)
        if done:
            sizes[id(node)] = 1 + sum(sizes[id(one)] for one in inside)
        elif id(node) not in sizes:
            if id(node) in within:
                what = "an alias stands in what it repeats"
                raise ConfigRefused([Fault(what, "write what is meant", _place(file, node))])
            within.add(id(node))
            left.append((node, True))
            left += [(one, False) for one in inside]
    return sizes


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [value for _, value in node.value]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _place(file: str, node: yaml.Node) -> Location:
    return Location(file, node.start_mark.line + 1, node.start_mark.column + 1)


class _Reader:
    def __init__(self, document: Document, file: str, faults: list[Fault]) -> None:
        self._places = document._places  # noqa: SLF001 - the document's own builder
        self._file = file
        self._faults = faults
        self._scalars: Any = yaml.SafeLoader("")

    def mapping(self, node: yaml.MappingNode, pointer: Pointer) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            # The key as written: YAML 1.1 would read `on` as true.
            key = str(key_node.value)
            here = (*pointer, key)
            place = _place(self._file, key_node)
            if key in out:
                first = Location(*self._places[here])
                what = f"{key!r} is written twice, first at {first}"
                self._faults.append(Fault(what, "keep one of them", place))
                continue
            self._places.setdefault(here, (place.file, place.line, place.column))
            out[key] = self.value(value_node, here)
        return out

    def value(self, node: yaml.Node, pointer: Pointer) -> Any:
        if len(pointer) > _DEPTH_MAX:
            raise ConfigRefused(
                [Fault("nested too deep", "use less than 64 levels", _place(self._file, node))]
            )
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _TAGS:
            what = f"the unknown tag {node.tag}"
            self._faults.append(Fault(what, "write a plain value", _place(self._file, node)))
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, pointer)
        if isinstance(node, yaml.SequenceNode):
            out = []
            for index, item in enumerate(node.value):
                here = (*pointer, index)
                mark = item.start_mark
                self._places[here] = (self._file, mark.line + 1, mark.column + 1)
                out.append(self.value(item, here))
            return out
        try:
            return self._scalars.construct_object(node)
        except (ValueError, LookupError, AttributeError):  # whatever PyYAML stumbles over
            what = f"the value {node.value!r} is no {node.tag}"
            if node.tag == _DATE:
                what = f"the value {node.value!r} looks like a date, and there is no such day"
            todo = "correct it, or put it in quotes"
            self._faults.append(Fault(what, todo, _place(self._file, node)))
            return None
        except yaml.YAMLError:
            what = f"the value {node.value!r} has an unknown tag {node.tag}"
            self._faults.append(Fault(what, "write a plain value", _place(self._file, node)))
            return None


def _merge(document: Document, more: dict[str, Any], faults: list[Fault], file: str) -> None:
    for section, content in more.items():
        if section not in document.data:
            document.data[section] = content
            continue
        known = document.data[section]
        if not isinstance(known, dict) or not isinstance(content, dict):
            if known != content:
                what = f"{section!r} is set here and differently in another file"
                faults.append(Fault(what, "keep one of them", Location(file, 1, 1)))
            continue
        for name, value in content.items():
            if name in known:
                first = document.where((section, name))
                what = f"{section}.{name} is defined in {file} too, first at {first}"
                faults.append(Fault(what, "keep one of them", first))
            else:
                known[name] = value
