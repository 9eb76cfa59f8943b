"""YAML: the core schema of YAML 1.2 and merge keys, with bounds; by the nodes of ruamel.yaml.

No tag makes anything but tables, lists, texts, numbers and flags, and keys and dates are texts. A
date, ``no`` and ``404:`` are what they look like. Aliases are counted before they are followed.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from app.kinds.configuration.causes import (
    Cause,
    Pointer,
    Value,
    library,
    shown_key,
)
from app.kinds.configuration.parsing.parsers import (
    MAX_DEPTH,
    TOO_DEEP,
    Document,
    Unparsable,
    reason,
)
from app.kinds.configuration.parsing.positions import Found

#: One of ruamel.yaml, which does not say in its types what its nodes have.
Node = Any
#: Nodes that a document may have once its aliases are followed; a million take seconds to check.
MAX_NODES = 250_000
TAG = "tag:yaml.org,2002:"
TEXTS = frozenset({f"{TAG}str", f"{TAG}timestamp", f"{TAG}merge", f"{TAG}value"})
NUMBERS = {f"{TAG}{name}": name for name in ("bool", "int", "float")}
MERGE = f"{TAG}merge"


def parse_yaml(text: str) -> Document:
    """A text in YAML; an empty one is a table without keys, as in TOML.

    Raises:
        Broken: ruamel.yaml is not installed.
        Unparsable: the text is no YAML that can be used.
        RecursionError: it is nested too deeply.
    """
    nodes = YamlNodes(text)
    return Document(nodes.value(), text, lambda _, wanted: nodes.walk(wanted))


class YamlNodes:
    """The nodes of one text; raises as ``parse_yaml`` does."""

    def __init__(self, text: str) -> None:
        ruamel = library("ruamel.yaml")
        yaml = ruamel.YAML(typ="safe", pure=True)
        # The later one counts, as the standard has it.
        yaml.composer.warn_double_anchors = False
        # Where it knows of no limit it ends with a RecursionError, after seconds.
        yaml.max_depth = MAX_DEPTH + 1
        try:
            self._root: Node = yaml.compose(text)
        except ruamel.error.MarkedYAMLError as error:
            problem = error.problem or error.context or ""
            # What is not closed is shown where it begins.
            unclosed = "end of stream" in problem or "<stream end>" in problem
            mark = (unclosed and error.context_mark) or error.problem_mark
            said = reason(problem).removesuffix(", but found").removesuffix(", but got")
            if problem.startswith("maximum depth"):
                said = TOO_DEEP
            raise Unparsable(Cause.SYNTAX, said, mark.index if mark else 0) from None
        except ruamel.reader.ReaderError as error:
            message = "a character that YAML does not allow"
            raise Unparsable(Cause.SYNTAX, message, error.position) from None
        except RecursionError:
            raise
        except Exception as error:  # noqa: BLE001 - the parser trips over some texts that are none
            raise Unparsable(Cause.SYNTAX, f"no YAML ({type(error).__name__})", 0) from None
        self._constructor = yaml.constructor
        self._sizes: dict[int, int] = {}

    def value(self) -> Value:
        """What the text holds."""
        if self._root is None:
            return {}
        if self._size(self._root) > MAX_NODES:
            message = "aliases of aliases make it too large"
            raise Unparsable(Cause.ALIAS_BOMB, message, self._largest(self._root))
        return self._value(self._root)

    def walk(self, wanted: Container[Pointer]) -> Iterator[Found]:
        """Every key and element that is wanted, those behind aliases where they are written."""
        rest: list[tuple[Pointer, Node]] = [((), self._root)] if self._root else []
        while rest:
            pointer, node = rest.pop()
            if node.id == "mapping":
                for key, (written, member) in _members(node).items():
                    if (here := (*pointer, key)) in wanted:
                        yield here, _start(written)
                        rest.append((here, member))
            elif node.id == "sequence":
                for index, member in enumerate(node.value):
                    if (here := (*pointer, index)) in wanted:
                        yield here, _start(member)
                        rest.append((here, member))

    def _size(self, node: Node) -> int:
        """The nodes below a node once aliases are followed, and it itself."""
        key = id(node)
        if (known := self._sizes.get(key)) is not None:
            if known == 0:
                message = "an alias is part of what it stands for"
                raise Unparsable(Cause.ALIAS_BOMB, message, _start(node))
            return known
        # Stands for the node while those below it are counted.
        self._sizes[key] = 0
        self._sizes[key] = size = 1 + sum(map(self._size, _children(node)))
        return size

    def _largest(self, node: Node) -> int:
        """The start of the first node that is too large and holds none that is."""
        while inner := next((n for n in _children(node) if self._sizes[id(n)] > MAX_NODES), None):
            node = inner
        return _start(node)

    def _value(self, node: Node) -> Value:
        if node.id == "mapping" and node.tag == f"{TAG}map":
            return {key: self._value(member) for key, (_, member) in _members(node).items()}
        if node.id == "sequence" and node.tag == f"{TAG}seq":
            return [self._value(member) for member in node.value]
        if node.id == "scalar":
            if node.tag in TEXTS:
                return node.value
            if node.tag == f"{TAG}null":
                return None
            if node.tag in NUMBERS:
                convert = getattr(self._constructor, f"construct_yaml_{NUMBERS[node.tag]}")
                try:
                    return convert(node)
                except (ValueError, KeyError, IndexError):
                    message = "a number or flag that cannot be read"
                    raise Unparsable(Cause.OUT_OF_RANGE, message, _start(node)) from None
        raise Unparsable(Cause.SYNTAX, "a tag that is not known", _start(node))


def _start(node: Node) -> int:
    start: int = node.start_mark.index
    return start


def _children(node: Node) -> list[Node]:
    if node.id == "mapping":
        return [one for pair in node.value for one in pair]
    return node.value if node.id == "sequence" else []


def _members(node: Node) -> dict[str, tuple[Node, Node]]:
    """The key and the value of each member, by the key's text, those that are merged in first.

    Raises:
        Unparsable: a key is twice there or is no text, or what is merged is no table.
    """
    own: dict[str, tuple[Node, Node]] = {}
    merged: dict[str, tuple[Node, Node]] = {}
    for key, member in node.value:
        if key.id != "scalar":
            raise Unparsable(Cause.WRONG_TYPE, "a key has to be text", _start(key))
        if key.value in own:
            message = f"{shown_key(key.value)} is here twice"
            raise Unparsable(Cause.DUPLICATE_KEY, message, _start(key))
        own[key.value] = (key, member)
        if key.tag == MERGE:
            # Of several the first one counts.
            for table in reversed(member.value if member.id == "sequence" else [member]):
                if table.id != "mapping":
                    message = "only a table can be merged into another one"
                    raise Unparsable(Cause.WRONG_TYPE, message, _start(key))
                merged |= _members(table)
    return {**merged, **{text: pair for text, pair in own.items() if pair[0].tag != MERGE}}
