"""Categories that a library holds as text: the whole numbers that they spell."""

import re

from synth.errors import ModelError

__all__ = ["read_category"]


def read_category(text: str, where: str) -> int:
    """Return the number that a category spells; `where` names the feature.

    Raises
    ------
    ModelError
        It spells none.
    """
    if not re.fullmatch("0|[1-9][0-9]{0,7}", text):
        raise ModelError(
            f"{where} has the category {text!r}: features are numbers here, so train with whole "
            "numbers from 0 on as categories"
        )
    return int(text)
