"""What an annotation says about a parameter's value."""

from __future__ import annotations

from dataclasses import dataclass


class Validator:
    """Base: validate(value) raises ValueError."""

    def validate(self, value):
        raise NotImplementedError


@dataclass
class Default:
    """The value before any is set."""

    value: object


@dataclass
class WithinRange(Validator):
    minimum: float
    maximum: float

    def validate(self, value):
        if value is not None and not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within the range [{self.minimum}, {self.maximum}], was {value}")


@dataclass
class Minimum(Validator):
    minimum: float

    def validate(self, value):
        if value is not None and value < self.minimum:
            raise ValueError(f"Value must be greater than or equal to {self.minimum}, was {value}")


@dataclass
class Maximum(Validator):
    maximum: float

    def validate(self, value):
        if value is not None and value > self.maximum:
            raise ValueError(f"Value must be less than or equal to {self.maximum}, was {value}")


@dataclass
class Choice(Validator):
    choices: list

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, was {value!r}")


@dataclass
class Decimals:
    value: int


@dataclass
class SingleStep:
    value: float
