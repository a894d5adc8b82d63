"""Every test of parsing holds of the compiled scanner, and of the rules alone."""

from collections.abc import Iterator

import pytest

from transforms.parse import rules


@pytest.fixture(params=[True, False], ids=["compiled", "rules"], autouse=True, scope="module")
def compiled(request: pytest.FixtureRequest) -> Iterator[None]:
    is_there, rules.COMPILED = rules.COMPILED, request.param
    yield
    rules.COMPILED = is_there
