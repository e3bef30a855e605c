"""For every test: a tiny model, and what is drawn at random is drawn alike on every machine, however long it takes."""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "any machine", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The folder of a tiny model bundle, one for all tests: nobody writes there."""
    from Testing import tiny

    return str(tiny.tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny"))
