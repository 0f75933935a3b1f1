"""Declare views in tests, in addition to the model's views or instead of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from chalicelib import tables, views
from tests import doubles


@contextmanager
def changeable_views(names: dict[str, str] | None = None) -> Iterator[None]:
    """Restore all views and tables at the end of the block. `names` is app.py's dict of physical names."""
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
    """Declare a view as model.py does, and add its table to the dicts that were computed at import."""
    views.view(table, key, amounts, **options)(function)
    tables.KEYS[table] = key
    doubles.NAMES[table] = table


def replace(function: Callable[[Any], Any], table: str = "ExtraTable", **columns: Any) -> None:
    """Change a view's function or other settings, as a new version of the app would."""
    views.VIEWS[table] = views.VIEWS[table]._replace(function=function, **columns)
