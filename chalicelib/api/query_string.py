"""Query parameters: the rules that more than one route has for them.

Which parameters a route takes is with what the route shows: totals.py, trend.py.
"""

from collections.abc import Iterable, Mapping

from chalicelib.orders import FieldErrors


def whole(asked: Mapping[str, str], name: str, default: int, largest: int, problems: FieldErrors) -> int:
    """A whole number from 1 to `largest`; notes it in `problems` where something else is asked for."""
    text = asked.get(name, str(default))
    if text.isascii() and text.isdigit() and len(text) <= len(str(largest)) and 1 <= int(text) <= largest:
        return int(text)
    problems[name] = f"must be a whole number from 1 to {largest}"
    return default


def refuse_others(asked: Iterable[str], known: Iterable[str], problems: FieldErrors) -> None:
    """Notes every parameter that a route does not have: a misspelt one would else be left out silently."""
    for name in set(asked).difference(known):
        problems[name] = f"is not a parameter here; there is {', '.join(known)}"
