"""Views for tests, beside or instead of those of the model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from chalicelib import tables, views
from tests import doubles


@contextmanager
def changeable_views(names: dict[str, str] | None = None) -> Iterator[None]:
    """Restore at the end what declaring a view changes. `names` are the tables' physical names of app.py."""
    changed: list[dict[str, Any]] = [views.VIEWS, tables.KEYS, doubles.NAMES, *([names] if names else [])]
    before = [dict(each) for each in changed]
    try:
        yield
    finally:
        for each, old in zip(changed, before, strict=True):
            each.clear()
            each.update(old)


def declare(
    function: Callable[[Any], Any],
    table: str = "ExtraTable",
    key: tuple[str, ...] = ("name",),
    amounts: Sequence[str] | Mapping[str, int] = ("count",),
    **options: Any,
) -> None:
    """Declare a view as model.py does, and add its table to those that were computed at import."""
    views.view(table, key, amounts, **options)(function)
    tables.KEYS[table] = key
    doubles.NAMES[table] = table


def replace(function: Callable[[Any], Any], table: str = "ExtraTable", **columns: Any) -> None:
    """Deploy another function for a view, or other columns of it, as a new version of the app does."""
    views.VIEWS[table] = views.VIEWS[table]._replace(function=function, **columns)
