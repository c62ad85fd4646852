"""What the tests of storage share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from objectstore import ObjectStore, Road


@pytest.fixture
def road(store: ObjectStore) -> Iterator[Road]:
    """A way to the server that can be shut and blocked."""
    opened = Road(store)
    yield opened
    opened.close()
