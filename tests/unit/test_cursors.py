"""Tests for cursors: the codec, and forged cursors with a valid checksum, which jobs must reject."""

import base64
import copy
import itertools
import json
import re
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib import cursors, tables
from chalicelib.api import rows, totals
from chalicelib.cursors import CursorError
from chalicelib.jobs import audit, backfill, invocation
from chalicelib.jobs.audit import checksums, counter_audit, entry_audit
from chalicelib.jobs.invocation import BadRequest
from chalicelib.jobs.state import encode
from chalicelib.views import VIEWS
from tests.doubles import run
from tests.orders_and_stream import OrdersAndStream, example
from tests.streams import item

JOBS: dict[str, Any] = {"backfill": backfill, "audit": audit}
# The most memory that rejecting a forged cursor may take. A job has eight times as much (docs/operations.md).
PEAK_MAX_BYTES = 225_000_000
USUAL_PEAK_MAX_BYTES = 100_000_000


def cursor_of(raw: bytes) -> str:
    """Return a cursor with this JSON content."""
    return text_of(zlib.compress(raw, wbits=-15))


def text_of(packed: bytes) -> str:
    """Return a cursor with a valid checksum for any compressed content."""
    raw = zlib.crc32(packed).to_bytes(4, "big") + packed
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def content_of(cursor: str) -> Any:
    return cursors.decode(cursor, 10_000_000)


# --- The codec -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["Pen", "筆記本 📓", "\x00", "", 5, None, [], {"a": ["b", {"c": -1}]}])
def test_a_cursor_decodes_to_its_value(value: Any):
    cursor = cursors.encode(value)
    assert cursors.decode(cursor, len(json.dumps(value))) == value
    assert re.fullmatch("[A-Za-z0-9_-]+", cursor), "it needs no escaping in a URL"


@pytest.mark.parametrize(("product", "most"), [("Notebook", 24), ("筆記本 📓", 32)])
def test_a_cursor_of_a_short_text_is_short(product: str, most: int):
    assert len(cursors.encode(product)) <= most


def test_content_beyond_the_limit_is_refused():
    cursor = cursors.encode("a" * 98)  # As JSON, with quotes, the text has 100 bytes.
    assert cursors.decode(cursor, 100) == "a" * 98
    with pytest.raises(CursorError, match="too long"):
        cursors.decode(cursor, 99)


def test_each_changed_character_of_a_cursor_is_refused():
    cursor = cursors.encode("Notebooks")
    for at, other in itertools.product(range(len(cursor)), "AB-_= é\n"):
        if cursor[at] != other:
            with pytest.raises(CursorError):
                cursors.decode(cursor[:at] + other + cursor[at + 1 :], 100)


PACKED = zlib.compress(b'"Pen"', wbits=-15)
HOSTILE: dict[str, object] = {
    "nothing": "",
    "a number": 5,
    "not base64": "cursor!",
    "padding": cursors.encode("Pen") + "=",
    "a line break": cursors.encode("Pen") + "\n",
    "data after the content": text_of(PACKED + b"x"),
    "content that breaks off": text_of(PACKED[:-1]),
    "content with a zlib header": text_of(zlib.compress(b'"Pen"')),
    "a constant that is no JSON": cursor_of(b"NaN"),
    "two values": cursor_of(b"1 2"),
    "bytes that are no text": cursor_of(b'"\xff\xfe"'),
    "deep nesting": cursor_of(b"[" * 5000 + b"]" * 5000),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_text_that_is_not_a_cursor_is_rejected(text: object):
    with pytest.raises(CursorError, match="not a cursor"):
        cursors.decode(text, 20_000)


@pytest.mark.parametrize("raw", [b"5", b"null", b'["Pen"]', b'{"product":"Pen"}', b'"\\ud800"', b'""'], ids=repr)
def test_the_api_refuses_a_cursor_that_holds_no_key(raw: bytes):
    assert totals.parse_query(VIEWS[tables.TOTALS], {"cursor": cursor_of(raw)}) == {"cursor": rows.BAD_CURSOR}


# --- Forged cursors of jobs ---------------------------------------------------------------------


def damaged_shop() -> OrdersAndStream:
    shop = example()
    shop.put(item("lost", "Pen"), item("a", "Pen", 9))
    shop.remove("c")
    shop.lose()
    shop.counter("Notebook")["orderCount"] = {"N": "50"}
    shop.dynamo.tables["AggregateTable"][("Ghost",)] = {
        "product": {"S": "Ghost"}, "totalQuantity": {"N": "0.5"}, "orderCount": {"N": "9" * 125},
    }  # fmt: skip
    return shop


def honest_contents(job: str, event: dict[str, Any]) -> Iterator[Any]:
    """Run a job one checkpoint at a time. Return the content of its cursor after each one."""
    shop = damaged_shop()
    work = JOBS[job].request(event)
    while True:
        run(work, shop.dynamo, checkpoints=1)
        answer = work.to_json(0)
        if answer["done"]:
            return
        yield content_of(answer["cursor"])
        work = JOBS[job].request({"cursor": answer["cursor"]})


@pytest.fixture(scope="module")
def contents() -> list[Any]:
    """Return the contents of cursors from every phase of both jobs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checksums, "BUCKETS", 4)
        patch.setattr(counter_audit, "PAGE_ITEMS", 2)
        patch.setattr(entry_audit, "PAGE_ITEMS", 2)
        patch.setattr(backfill, "PAGE_ORDERS", 2)
        found = [*honest_contents("backfill", {}), *honest_contents("audit", {"repair": True})]
        patch.setattr(counter_audit, "TRACKED_MAX_BYTES", 100)
        found += honest_contents("audit", {"repair": True})
    counters = [each["state"]["counters"] for each in found if each["job"] == "audit"]
    assert {state["scan"] for state in counters} == set(range(6))
    assert all(any(state[part] for state in counters) for part in ("end", "tracked"))
    assert any(tracked["to_repair"] for state in counters for _, tracked in state["tracked"])
    return found


@pytest.fixture(autouse=True)
def few_buckets(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "contents" in request.fixturenames:
        monkeypatch.setattr(checksums, "BUCKETS", 4)


def go_on(content: Any) -> bool:
    """Run a job from a cursor with this content. Return False if the job rejects the cursor."""
    job = content.get("job") if isinstance(content, dict) else None
    module = JOBS[job] if isinstance(job, str) and job in JOBS else audit
    try:
        work = module.request({"cursor": cursor_of(json.dumps(content).encode())})
    except BadRequest:
        return False
    run(work, damaged_shop().dynamo)
    json.dumps(work.to_json(0))
    return True


# --- One wrong value at a time ----------------------------------------------------------


def test_an_honest_cursor_is_accepted(contents: list[Any]):
    assert all(go_on(content) for content in contents)


Path = tuple[Any, ...]
NESTED: Any = []
for _ in range(500):
    NESTED = [NESTED]
TRACKED = encode(counter_audit.TrackedCounter())
WRONG: dict[str, tuple[str, Path, Any]] = {
    "a negative number": ("audit", ("state", "requests"), -1),
    "a grace period beyond the longest": ("audit", ("state", "orders", "grace_period_seconds"), 301),
    "a fraction": ("audit", ("state", "requests"), 1.5),
    "a bool for a number": ("audit", ("state", "counters", "number"), True),
    "a text for a number": ("audit", ("state", "orders", "figures", "missing"), "1"),
    "a number for a list": ("audit", ("state", "orders", "products"), 5),
    "an array for an object": ("audit", ("state",), []),
    "an unknown table": ("audit", ("state", "orders", "table"), "UsersTable"),
    "a scan beyond the last": ("audit", ("state", "counters", "scan"), 6),
    "too many products": ("audit", ("state", "orders", "products"), {f"{n}": None for n in range(5001)}),
    "too many products in flight": (
        "audit",
        ("state", "orders", "products_in_flight"),
        {f"{n}": None for n in range(5001)},
    ),
    "a key of wrong length": ("audit", ("state", "orders", "start"), ["a", "b"]),
    "a key that is empty": ("backfill", ("state", "start"), [""]),
    "a key that is too long": ("backfill", ("state", "start"), ["x" * 2049]),
    "a key that is not Unicode": ("backfill", ("state", "start"), ["\ud800"]),
    "a segment beyond the segments": ("backfill", ("state", "segment"), 2),
    "too many segments": ("backfill", ("state", "segments"), 1001),
    "a bucket beyond the last": ("audit", ("state", "counters", "end"), 5),
    "a key of another table": ("audit", ("state", "counters", "start"), ["a", "b"]),
    "an order that is empty": ("audit", ("state", "orders", "suspects"), {"": ["d", 1, 1, False]}),
    "a time beyond the calendar": ("audit", ("state", "orders", "suspects"), {"a": ["d", 2**52, 1, False]}),
    "deep findings": ("audit", ("state", "orders", "sample"), [{"finding": NESTED}]),
    "a finding that is no JSON": ("audit", ("state", "orders", "sample"), [{"finding": float("nan")}]),
    "too many findings": ("audit", ("state", "orders", "sample"), [{"finding": "orphaned"}] * 101),
    "a counter of an unknown table": ("audit", ("state", "counters", "tracked"), [[["UsersTable", ["x"]], TRACKED]]),
    "a counter's key of wrong length": ("audit", ("state", "counters", "tracked"), [[["TrendTable", ["x"]], TRACKED]]),
    "an amount beyond all sums": (
        "audit",
        ("state", "counters", "tracked"),
        [[["AggregateTable", ["x"]], {**TRACKED, "expected": {"orderCount": 10**141}}]],
    ),
    "an amount that is a text": (
        "audit",
        ("state", "counters", "tracked"),
        [[["AggregateTable", ["x"]], {**TRACKED, "stored": {"orderCount": "five"}}]],
    ),
    "a tracked counter that lacks something": (
        "audit",
        ("state", "counters", "tracked"),
        [[["AggregateTable", ["x"]], {"revision": "1"}]],
    ),
    "a finding without a name": ("audit", ("state", "orders", "sample"), [{"": 1}]),
}


def replaced(content: Any, path: Path, value: Any) -> Any:
    """Return the content with another value at this path."""
    if not path:
        return value
    return {**content, path[0]: replaced(content[path[0]], path[1:], value)}


def test_a_tracked_counter_is_accepted(contents: list[Any]):
    """A tracked counter with valid values is accepted, so the next tests' cursors fail only because of wrong ones."""
    content = next(each for each in contents if each["job"] == "audit")
    assert go_on(replaced(content, ("state", "counters", "tracked"), [[["AggregateTable", ["x"]], TRACKED]]))


@pytest.mark.parametrize(("job", "path", "value"), WRONG.values(), ids=WRONG.keys())
def test_a_cursor_with_one_wrong_value_is_refused(contents: list[Any], job: str, path: Path, value: Any):
    content = next(each for each in contents if each["job"] == job)
    assert not go_on(replaced(content, path, value))


def test_a_cursor_with_a_missing_or_an_extra_field_is_refused(contents: list[Any]):
    for content in contents:
        for path in [("state",), ("state", "orders"), ("state", "counters")][
            : 1 if content["job"] == "backfill" else 3
        ]:
            part = content
            for name in path:
                part = part[name]
            for name in part:
                less = {key: value for key, value in part.items() if key != name}
                assert not go_on(replaced(content, path, less))
            assert not go_on(replaced(content, path, {**part, "more": 1}))


@pytest.mark.parametrize("size", [0, 24, 31, 33, 40, 4_000_000])
def test_checksums_of_wrong_size_are_refused(contents: list[Any], size: int):
    content = next(each for each in contents if each["job"] == "audit")
    path = ("state", "counters", "checksums", "sums")
    assert go_on(replaced(content, path, base64.b64encode(bytes(32)).decode()))
    assert not go_on(replaced(content, path, base64.b64encode(bytes(size)).decode()))


@pytest.mark.parametrize("sums", [None, 5, "abc", "!", [0, 0, 0, 0], {}], ids=str)
def test_other_values_than_checksums_are_refused(contents: list[Any], sums: Any):
    content = next(each for each in contents if each["job"] == "audit")
    assert not go_on(replaced(content, ("state", "counters", "checksums", "sums"), sums))


def test_a_job_continues_from_checksums_of_the_largest_numbers(contents: list[Any]):
    for content in contents:
        if content["job"] == "audit":
            assert go_on(replaced(content, ("state", "counters", "checksums", "sums"), "/" * 42 + "8="))


# --- Memory --------------------------------------------------------------------------------------


def filled(unit: bytes) -> bytes:
    """Return a JSON array of copies of `unit`, as long as a cursor's content may be."""
    return b"[" + unit * ((invocation._CURSOR_MAX_BYTES - 2) // len(unit) - 1) + unit.rstrip(b",") + b"]"


def in_suspects() -> bytes:
    """Return the content of a cursor with many valid suspects and one invalid field, which comes last."""
    content = content_of(invocation.cursor("audit", audit.request({})))
    content["state"]["orders"]["suspects"] = {f"{n}": ["d", 1, 1, False] for n in range(200_000)}
    content["state"]["requests"] = -1
    return json.dumps(content).encode()


CRAFTED: dict[str, Callable[[], bytes]] = {
    # Objects in an array take the most memory per byte.
    "objects": lambda: filled(b'[{"":0}],'),
    "nested arrays": lambda: b"[" * 100_000 + b"]" * 100_000,
    "nested objects": lambda: b'{"":' * 100_000 + b"0" + b"}" * 100_000,
    "a bomb": lambda: b'"' + b"a" * 100_000_000 + b'"',
    "suspects": in_suspects,
    "one long number": lambda: b"9" * 1_000_000,
    "wide characters": lambda: b'["\\ud83d\\ude00' + b"a" * 5_000_000 + b'"]',
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_cursor_is_refused_in_bounded_memory(name: str):
    cursor = cursor_of(CRAFTED[name]())
    assert len(cursor) < 6_000_000
    tracemalloc.start()
    try:
        with pytest.raises(BadRequest, match=r"cursor.* start again without it"):
            audit.request({"cursor": cursor})
        assert tracemalloc.get_traced_memory()[1] < (PEAK_MAX_BYTES if name == "objects" else USUAL_PEAK_MAX_BYTES)
    finally:
        tracemalloc.stop()


# --- Random changes to cursors -------------------------------------------------------------------

VALUES: Any = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 5), st.sampled_from([2**31, 2**53, 2**63, 10**40, -(2**63), 0.5, 1e308]),
    st.text(max_size=3), st.sampled_from(["", "1", "1.5", "NaN", "1E+99", "-0", "x" * 2049, "\ud800", "TrendTable"]),
    st.just([]), st.just({}), st.just([[]]), st.just([0, 0]), st.just(["a", "b"]), st.just({"a": "b"}),
)  # fmt: skip


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every value within a JSON value."""
    inner: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inner:
        yield (*path, name)
        yield from places(each, (*path, name))


def mutate(content: Any, path: Path, how: str, value: Any) -> None:
    """Replace, remove or duplicate the value at a path."""
    *way, last = path
    for name in way:
        content = content[name]
    if how == "remove":
        del content[last]
    elif how == "double" and isinstance(content, list):
        content.insert(last, copy.deepcopy(content[last]))
    else:
        content[last] = copy.deepcopy(value)  # Copy it, because a second mutation may change it.


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_job_runs_to_its_end_from_any_cursor_that_it_accepts(contents: list[Any], data: Any):
    content = copy.deepcopy(data.draw(st.sampled_from(contents)))
    for _ in range(data.draw(st.integers(1, 2), label="mutations")):
        path = data.draw(st.sampled_from(list(places(content))), label="path")
        how = data.draw(st.sampled_from(["replace", "replace", "remove", "double"]))
        mutate(content, path, how, data.draw(VALUES, label="value"))
    go_on(content)
