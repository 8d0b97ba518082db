"""Errors that the user can fix. Each message says what is wrong and what to do; there is no traceback."""


class StageError(Exception):
    """The work cannot go on; the message says what is wrong and what the user can do."""


class ParamsError(StageError):
    """params.yaml cannot be used; the message has one line for each fault."""


class FailedTrainingError(StageError):
    """The parameters are valid, but training with them fails, for instance because the loss diverges."""
