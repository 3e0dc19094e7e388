"""Which test proves that a setting of a card acts. A list of (card, setting) that the frame holds against the cards."""

from collections import defaultdict
from collections.abc import Callable

import pytest

PROOFS: dict[tuple[str, str], list[str]] = defaultdict(list)


def proves(setting: str, *slugs: str) -> Callable[[Callable], Callable]:
    """The test proves `setting` with data of these cards' own sandboxes.

    With several cards, or one that is not Cova's, the test takes `till` (tests/integrations/tills.py) and runs once for
    each of them.
    """

    def register(function: Callable) -> Callable:
        for slug in slugs or ("cova",):
            PROOFS[slug, setting].append(function.__qualname__)
        if slugs and "till" in function.__code__.co_varnames[: function.__code__.co_argcount]:
            return pytest.mark.parametrize("till", slugs, indirect=True)(function)
        return function

    return register
