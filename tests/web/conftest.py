"""A network and digits for the page, and an application over them."""

from typing import Any

import pytest
from tests.tools.lies import small_model

from commands.serve import OWN_NAMES
from pen.recognizer import Recognizer
from web.application import application
from web.collecting import Album
from web.digits import Shelf


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Generated digits, also where data/split has real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        shelf = Shelf()
        assert shelf.origin == "synthetic"
    return shelf


@pytest.fixture
def model() -> Recognizer:
    return small_model()


@pytest.fixture
def app(model: Recognizer, shelf: Shelf, tmp_path: Any) -> Any:
    return application(model, OWN_NAMES, shelf, Album(tmp_path / "drawings"))
