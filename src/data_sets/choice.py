"""The data set that params.yaml names."""

from pipeline.errors import ParamsError
from pipeline.params import Params

from .data_set import DataSet
from .own import Own
from .pen_files import PenDigits
from .pendigits import TEST, TRAINING
from .synthetic import Synthetic


def data_set_of(params: Params) -> DataSet:
    """The data set of a run.

    Raises:
        ParamsError: if params.yaml does not describe it.
    """
    if params.dataset == "own":
        if params.own is None:
            raise ParamsError("params.yaml: own is null; `make new-data DATA=table.csv LABEL=column` fills it in")
        return Own(params.own)
    if params.dataset == "synthetic":
        return Synthetic(params)
    return PenDigits("pendigits", rows=(TRAINING.rows, TEST.rows))
