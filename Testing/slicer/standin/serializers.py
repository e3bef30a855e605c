"""How values of the types that a parameter node takes stand in the node: the same text as Slicer's."""

from __future__ import annotations

import collections.abc
import enum
import pathlib
import types
import typing


class Serializer:
    """One value as one text under its own name."""

    cached = True

    def __init__(self, kind, accepts=None):
        self.kind, self.accepts = kind, accepts or (kind,)

    def key(self, name):
        return name

    def default(self):
        return self.kind()

    def check(self, value):
        if not isinstance(value, self.accepts) or value is None:
            raise TypeError(f"Expected {self.kind.__name__}, got {type(value).__name__} ({value!r})")

    def text(self, value):
        return str(value)

    def value(self, text):
        return self.kind(text)

    def write(self, node, name, value):
        node.SetParameter(name, self.text(value))

    def read(self, node, name):
        return self.value(node.GetParameter(name))


class BoolSerializer(Serializer):
    def value(self, text):
        return text == "True"


class EnumSerializer(Serializer):
    def default(self):
        return list(self.kind)[0]

    def text(self, value):
        return value.name

    def value(self, text):
        return self.kind[text]


class NodeSerializer(Serializer):
    """A node as a reference; None is allowed."""

    def default(self):
        return None

    def check(self, value):
        if value is not None and not isinstance(value, self.accepts):
            raise TypeError(f"Expected {self.kind.__name__} or None, got {type(value).__name__}")

    def write(self, node, name, value):
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node, name):
        return node.GetNodeReference(name)


class ListSerializer(Serializer):
    """A list: its length under its own name, each item beside it. Changing the list that was read is refused."""

    cached = False

    def __init__(self, item):
        super().__init__(list, (list, tuple, ReadList))
        self.item = item

    def key(self, name):
        return f"{name}_len"

    def check(self, value):
        super().check(value)
        for each in value:
            self.item.check(each)

    def write(self, node, name, value):
        for index, each in enumerate(value):
            self.item.write(node, f"{name}_{index}", each)
        node.SetParameter(self.key(name), str(len(value)))

    def read(self, node, name):
        count = int(node.GetParameter(self.key(name)))
        return ReadList(self.item.read(node, f"{name}_{index}") for index in range(count))


class ReadList(collections.abc.Sequence):
    """No list, as in Slicer, but equal to one. Slicer's writes each change to the node; this one refuses changes."""

    def __init__(self, items):
        self._items = list(items)

    def __getitem__(self, index):
        return self._items[index]

    def __len__(self):
        return len(self._items)

    def __eq__(self, other):
        return self._items == (other._items if isinstance(other, ReadList) else other)

    def __repr__(self):
        return f"ObservedList({self._items})"

    def _refuse(self, *arguments):
        raise NotImplementedError("assign the whole list to the parameter")

    append = extend = insert = remove = pop = clear = sort = __setitem__ = __delitem__ = __iadd__ = __add__ = _refuse


def serializer_for(kind) -> Serializer:
    """The serializer of a type; Exception for a type that Slicer could not keep (or that is not known here)."""
    import slicer

    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        return ListSerializer(serializer_for(parts[0]))
    if origin in (typing.Union, types.UnionType) and type(None) in parts and len(parts) == 2:
        inner = next(part for part in parts if part is not type(None))
        if issubclass(inner, slicer.vtkMRMLNode):
            return NodeSerializer(inner)
    if isinstance(kind, type):
        if kind is bool:
            return BoolSerializer(bool)
        if kind is float:
            return Serializer(float, (int, float))
        if kind in (int, str):
            return Serializer(kind)
        if issubclass(kind, enum.Enum):
            return EnumSerializer(kind)
        if issubclass(kind, pathlib.PurePath):
            return Serializer(kind, (pathlib.PurePath,))
        if issubclass(kind, slicer.vtkMRMLNode):
            return NodeSerializer(kind)
    raise Exception(f"Unable to create serializer for type: {kind}")
