"""Shared by the tests of media: a folder in which each odd file is made once."""

import pytest


@pytest.fixture(scope="session")
def odd_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("odd")
