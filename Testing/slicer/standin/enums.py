"""Qt's enumerations as PythonQt shows them: whole numbers, which remember the PySide6 member that they stand for."""

from __future__ import annotations

import enum


class EnumNumber(int):
    """An enum value: prints and compares as a number."""

    member: enum.Enum

    def __new__(cls, member: enum.Enum):
        number = super().__new__(cls, member.value)
        number.member = member
        return number

    def _combined(self, other, operation):
        number = operation(int(self), int(other))
        kind = type(self.member)
        return EnumNumber(kind(number)) if isinstance(self.member, enum.Flag) else number

    def __or__(self, other):
        return self._combined(other, int.__or__)

    def __and__(self, other):
        return self._combined(other, int.__and__)

    def __invert__(self):
        return EnumNumber(~self.member) if isinstance(self.member, enum.Flag) else ~int(self)


class EnumType:
    """An enumeration as an attribute of its class: makes a value from a number; its values are found on the class."""

    def __init__(self, kind: type[enum.Enum]):
        self._kind = kind

    def __call__(self, number: int = 0) -> EnumNumber:
        return EnumNumber(self._kind(int(number)))

    def __getattr__(self, name: str):
        raise AttributeError(f"write the value as an attribute of the class, not of {self._kind.__name__}: {name}")


def find_enum(raw_class: type, name: str) -> EnumNumber | EnumType | None:
    """The enum value or the enumeration of that name in a PySide6 class or its bases."""
    for base in raw_class.__mro__:
        for key, found in vars(base).items():
            if isinstance(found, type) and issubclass(found, enum.Enum):
                if key == name:
                    return EnumType(found)
                if name in found.__members__:
                    return EnumNumber(found.__members__[name])
    return None
