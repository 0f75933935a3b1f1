"""Validate query parameters. All routes with parameters use this."""

from collections.abc import Iterable, Mapping

from chalicelib.orders import FieldErrors


def whole_number(query: Mapping[str, str], name: str, default: int, maximum: int, errors: FieldErrors) -> int:
    """Return a whole-number parameter from 1 to `maximum`, or the default if it is absent.

    If the parameter is invalid, add an entry to `errors` and return the default.
    """
    text = query.get(name, str(default))
    if text.isascii() and text.isdigit() and len(text) <= len(str(maximum)) and 1 <= int(text) <= maximum:
        return int(text)
    errors[name] = f"must be a whole number from 1 to {maximum}"
    return default


def reject_unknown(query: Iterable[str], known: Iterable[str], errors: FieldErrors) -> None:
    """Add an entry to `errors` for each unknown parameter, so that misspelled ones are not ignored."""
    for name in set(query).difference(known):
        errors[name] = f"is not a known parameter; the parameters are {', '.join(known)}"
