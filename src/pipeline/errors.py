"""Errors that the user can fix. Each message says what is wrong and what to do; there is no traceback."""

from collections.abc import Mapping
from typing import Any


class StageError(Exception):
    """The work cannot go on; the message says what is wrong and what the user can do."""


class ParamsError(StageError):
    """params.yaml cannot be used; the message has one line for each fault.

    Attributes:
        sound: the values of the other keys.
    """

    def __init__(self, message: str, sound: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.sound: Mapping[str, Any] = sound or {}


class FailedTrainingError(StageError):
    """The parameters are valid, but training with them fails, for instance because the loss diverges."""
