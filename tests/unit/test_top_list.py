"""Tests for the top list, the cached list of a view's largest rows: its content, its refreshes, and their cost."""

import contextlib
from random import Random
from typing import Any

import pytest

from chalicelib import effects, tables, views
from chalicelib.api import rows, top_list, totals
from chalicelib.api.top_list import CLAIM_SECONDS, PAGES_MAX, ROWS_MAX, TopList, TopView
from chalicelib.effects import BatchGet, ConditionalUpdate, Scan, Sleep, Steps

NOW = 1_795_000_000.0
PAGE_BYTES = 1_000_000
ROW_BYTES = 100
VIEW = rows.top_view(views.VIEWS[tables.TOTALS])
UNITS_A_SECOND = 10  # The limit for the cost of refreshing, in read units.


def row(product: str, quantity: int, **more: Any) -> dict[str, Any]:
    return {
        "product": {"S": product},
        "totalQuantity": {"N": str(quantity)},
        "orderCount": {"N": "3"},
        "updatedAt": {"S": "2026-11-23T18:13:05Z"},
        "revision": {"N": "7"},
        **more,
    }


class FakeTables:
    """A fake AggregateTable with many rows and a fake StateTable. It counts requests and capacity units.

    Row number n has the quantity n. A page covers 1 MB of rows. It returns only the ROWS_MAX largest rows of those, but
    counts the read units of all.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.state: dict[effects.Key, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.read_units = 0.0
        self.scan_units = 0.0
        self.write_units = 0.0

    def perform(self, effect: effects.Effect) -> Any:
        self.requests.append(type(effect).__name__)
        match effect:
            case BatchGet():
                assert effect.table == tables.STATE
                found = {key: self.state[key] for key in effect.keys if key in self.state}
                self.read_units += sum(1 + size(found.get(key, {})) // 4096 for key in effect.keys)
                return found
            case Scan():
                return self._scan(effect)
            case ConditionalUpdate():
                return self._update(effect)
        assert isinstance(effect, Sleep)
        return int(NOW)

    def _scan(self, effect: Scan) -> effects.Page:
        first = int(effect.start[0]) if effect.start else 0
        end = min(self.rows, first + PAGE_BYTES // ROW_BYTES)
        made = [row(str(n + 1), n + 1) for n in range(max(first, end - ROWS_MAX), end)]
        units = max(0.5, (end - first) * ROW_BYTES / 8192)
        self.scan_units += units
        return effects.Page(made, (str(end),) if end < self.rows else None, units)

    def _update(self, effect: ConditionalUpdate) -> bool:
        given = effect.parameters
        key = (given["Key"]["name"]["S"],)
        stored, values = self.state.get(key, {}), given["ExpressionAttributeValues"]
        self.write_units += 1 + size(stored) // 1024

        def number(attribute: str) -> float:
            return float(stored[attribute]["N"])

        held = {
            "attribute_not_exists(replaces) OR replaces < :replaces OR claimedAt < :expired": lambda: (
                number("replaces") < float(values[":replaces"]["N"])
                or number("claimedAt") < float(values[":expired"]["N"])
            ),
            "NOT attribute_type(asOf, :number) OR asOf < :asOf": lambda: (
                "N" not in stored["asOf"] or number("asOf") < float(values[":asOf"]["N"])
            ),
        }[given["ConditionExpression"]]
        if stored and not held():
            return False
        names = [part.split(" = ")[0] for part in given["UpdateExpression"].removeprefix("SET ").split(", ")]
        self.state[key] = stored | {name: values[f":{name}"] for name in names}
        return True

    def read(self, now: float = NOW) -> TopList:
        """Return the list that a request at this time returns."""
        found: TopList = result(top_list.read(VIEW, now), self)
        return found

    def tick(self, now: float = NOW) -> None:
        """Do what the scheduled function does."""
        result(top_list.refresh_if_wanted(VIEW, now), self)

    @property
    def refresh_units(self) -> float:
        """The cost of all refreshes so far, in read units."""
        return self.scan_units + top_list.READ_UNITS_PER_WRITE_UNIT * self.write_units


def size(item: dict[str, Any]) -> int:
    return sum(len(next(iter(value.values()))) if "B" in value else 20 for value in item.values())


def result(steps: Steps[Any], fake: FakeTables) -> Any:
    sent = None
    try:
        while True:
            sent = fake.perform(steps.send(sent))
    except StopIteration as stop:
        return stop.value


def products(found: TopList, count: int = 3) -> list[str]:
    return [each["product"]["S"] for each in found.rows[:count]]


# --- Content of the list ---------------------------------------------------------------------------


def test_first_read_scans_and_writes_the_list_that_later_reads_return():
    fake = FakeTables(rows=500)
    first = fake.read()
    assert (products(first), len(first.rows), first.complete) == (["500", "499", "498"], ROWS_MAX, True)
    assert fake.requests == ["BatchGet", "ConditionalUpdate", "Scan", "ConditionalUpdate"]
    fake.requests.clear()
    assert fake.read(NOW + 0.9).rows == first.rows
    assert fake.requests == ["BatchGet"]


def test_largest_rows_are_ordered_by_amount_then_key():
    rows = [row("c", 5), row("b", 9), row("a", 5), row("d", 1)]
    assert [each["product"]["S"] for each in top_list.largest(VIEW, rows)] == ["b", "a", "c", "d"]


def test_another_view_has_a_list_of_its_own():
    trend = TopView(tables.TREND, "total", ())
    found = [{"product": {"S": "Pen"}, "day": {"S": f"2026-11-0{n}"}, "total": {"N": str(n % 3)}} for n in range(1, 5)]
    ordered = [each["day"]["S"][-1] for each in top_list.largest(trend, found)]
    assert ordered == ["2", "1", "4", "3"]
    assert not {trend.list_key, trend.claim_key, trend.scheduled_claim_key} & {VIEW.list_key, VIEW.claim_key}


def scanned(*rows: dict[str, Any]) -> TopList:
    """Return the cached list for a table with these rows. A second request reads it."""
    fake = FakeTables(rows=0)
    fake._scan = lambda effect: effects.Page(rows, None, 1.0)  # type: ignore[method-assign]
    fake.read()
    return fake.read(NOW + 0.1)


def test_foreign_attributes_are_left_out():
    found = scanned(row("Pen", 5, note={"S": "x"}, updatedAt={"S": "x" * 300_000}, orderCount={"B": b"1"}))
    assert found.rows == [{"product": {"S": "Pen"}, "totalQuantity": {"N": "5"}}]
    assert totals.to_json(found.rows[0]) == {
        "product": "Pen", "totalQuantity": 5, "orderCount": 0, "updatedAt": None,
    }  # fmt: skip


def incompressible(characters: int, n: int) -> str:
    random = Random(n)
    return "".join(chr(random.randint(0x4E00, 0x9FFF)) for _ in range(characters))


def test_hundred_longest_products_fit_into_an_item():
    names = [incompressible(341, n) for n in range(ROWS_MAX)]
    assert {len(name.encode()) for name in names} == {1023}  # A product name may have 1,024 bytes.
    assert products(scanned(*(row(name, 500 - n) for n, name in enumerate(names))), ROWS_MAX) == names


def test_hundred_usual_totals_take_three_write_units():
    random = Random(0)
    rows = [
        row(f"{random.choice(WORDS)} {random.choice(WORDS)} {n}", random.randint(1, 99_999)) for n in range(ROWS_MAX)
    ]
    fake = FakeTables(rows=0)
    fake._scan = lambda effect: effects.Page(rows, None, 1.0)  # type: ignore[method-assign]
    fake.read()
    assert 1000 < len(fake.state[VIEW.list_key]["packedRows"]["B"]) < 3000


WORDS = ("Notebook", "Pen", "Ink", "Lamp", "Paper", "Stapler", "Folder", "Marker", "A4", "A5", "red", "blue", "large")


def test_list_that_does_not_fit_loses_its_last_rows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(top_list, "LIST_MAX_BYTES", 40_000)
    names = [incompressible(341, n) for n in range(ROWS_MAX)]
    kept = products(scanned(*(row(name, 500 - n) for n, name in enumerate(names))), ROWS_MAX)
    assert 20 < len(kept) < ROWS_MAX
    assert kept == names[: len(kept)]


@pytest.mark.parametrize(
    "malformed", [{"packedRows": {"B": b"x"}}, {"asOf": {"S": "now"}}, {"pageCount": {"N": "1.5"}}]
)
def test_malformed_list_is_replaced(malformed: dict[str, Any]):
    fake = FakeTables(rows=5)
    fake.read()
    fake.state[VIEW.list_key] |= malformed
    assert products(fake.read(NOW + 60)) == ["5", "4", "3"]


# --- Refreshes ----------------------------------------------------------------------------


def test_only_one_of_two_requests_that_find_an_old_list_scans():
    fake = FakeTables(rows=5)
    fake.read()
    fake.rows = 6
    first, second = top_list.read(VIEW, NOW + 5), top_list.read(VIEW, NOW + 5)
    claims = [reader.send(fake.perform(next(reader))) for reader in (first, second)]  # Both requests read the old list.
    scan = first.send(fake.perform(claims[0]))
    assert isinstance(scan, Scan)
    with pytest.raises(StopIteration) as returned:
        second.send(fake.perform(claims[1]))
    assert products(returned.value.value) == ["5", "4", "3"]
    write = first.send(fake.perform(scan))
    with pytest.raises(StopIteration) as returned:
        first.send(fake.perform(write))
    assert products(returned.value.value) == ["6", "5", "4"]


def test_request_with_an_older_list_cannot_claim_again():
    fake = FakeTables(rows=5)
    fake.read()
    late = top_list.read(VIEW, NOW + 5)
    claim = late.send(fake.perform(next(late)))
    fake.read(NOW + 5)
    fake.read(NOW + 10)
    with pytest.raises(StopIteration):
        late.send(fake.perform(claim))


def test_claim_of_a_crashed_request_expires():
    fake = FakeTables(rows=5)
    fake.read()
    fake.rows = 6
    crashed = top_list.read(VIEW, NOW + 5)
    fake.perform(crashed.send(fake.perform(next(crashed))))
    crashed.close()
    assert products(fake.read(NOW + 5 + CLAIM_SECONDS - 1)) == ["5", "4", "3"]
    assert products(fake.read(NOW + 5 + CLAIM_SECONDS + 1)) == ["6", "5", "4"]


def test_late_write_does_not_replace_a_newer_list():
    fake = FakeTables(rows=5)
    fake.read()
    slow = top_list.read(VIEW, NOW + 5)
    claim = slow.send(fake.perform(next(slow)))
    write = slow.send(fake.perform(slow.send(fake.perform(claim))))
    fake.rows = 6
    fake.read(NOW + 5 + CLAIM_SECONDS + 1)
    fake.perform(write)
    assert products(fake.read(NOW + 5 + CLAIM_SECONDS + 1.5)) == ["6", "5", "4"]


def test_requests_wait_for_the_first_list_and_scan_if_its_maker_crashed():
    fake = FakeTables(rows=5)
    maker = top_list.read(VIEW, NOW)
    scan = maker.send(fake.perform(maker.send(fake.perform(next(maker)))))
    waiting = top_list.read(VIEW, NOW + 0.1)
    assert isinstance(waiting.send(fake.perform(next(waiting))), Sleep)
    write = maker.send(fake.perform(scan))
    fake.perform(write)
    with pytest.raises(StopIteration) as returned:
        waiting.send(fake.perform(waiting.send(None)))
    assert products(returned.value.value) == ["5", "4", "3"]
    del fake.state[VIEW.list_key]
    fake.requests.clear()
    assert products(fake.read(NOW + 1)) == ["5", "4", "3"]
    assert (fake.requests.count("Sleep"), fake.requests.count("Scan")) == (top_list.FIRST_LIST_WAITS, 1)


@pytest.mark.parametrize("seed", range(6))
def test_any_interleaving_of_requests_has_one_scan_at_a_time(seed: int):
    random, fake = Random(seed), FakeTables(rows=5)
    fake.read()
    now, running, as_of = NOW, {}, 0.0
    for _ in range(1000):
        now += random.random()
        if random.random() < 0.4:
            steps = top_list.read(VIEW, now)
            running[steps] = (now, next(steps))
        if running:
            steps = random.choice(list(running))
            started, effect = running.pop(steps)
            if now - started > 0.9 * CLAIM_SECONDS or random.random() < 0.02:
                continue  # The request crashes here, or API Gateway times out.
            with contextlib.suppress(StopIteration):
                running[steps] = (started, steps.send(fake.perform(effect)))
        assert sum(isinstance(effect, Scan) for _, effect in running.values()) <= 1
        written = float(fake.state[VIEW.list_key]["asOf"]["N"])
        assert written >= as_of
        as_of = written
    assert now - as_of < 3 * CLAIM_SECONDS


# --- Large tables --------------------------------------------------------------------------------


def test_request_scans_four_pages_and_says_that_the_list_is_not_complete():
    fake = FakeTables(rows=60_000)
    found = fake.read()
    assert (products(found), found.complete) == (["40000", "39999", "39998"], False)
    assert fake.requests.count("Scan") == PAGES_MAX
    for seconds in range(0, 300, 3):
        assert not fake.read(NOW + seconds).complete
    assert fake.requests.count("Scan") == PAGES_MAX
    fake.tick(NOW + 300)
    found = fake.read(NOW + 301)
    assert (products(found, 1), found.complete) == (["60000"], True)


@pytest.mark.parametrize("rows", [10_000, 60_000])
def test_schedule_makes_one_request_if_nobody_reads(rows: int):
    fake = FakeTables(rows)
    fake.tick()
    assert fake.requests == ["BatchGet"]
    fake.read()
    fake.tick(NOW + 300)
    fake.requests.clear()
    for hours in range(1, 10):
        fake.tick(NOW + 3600 * hours)
    assert fake.requests == ["BatchGet"] * 9


def test_schedule_scans_after_a_request_has_found_the_list_too_old():
    fake = FakeTables(rows=60_000)
    fake.read()
    fake.tick(NOW + 300)
    fake.rows = 60_001
    assert products(fake.read(NOW + 4000), 1) == ["60000"]
    fake.tick(NOW + 4200)
    assert products(fake.read(NOW + 4201), 1) == ["60001"]
    assert fake.requests.count("Scan") == PAGES_MAX + 6 + 7


def test_table_that_grows_beyond_four_pages_keeps_its_list_until_the_schedule_has_a_new_one():
    fake = FakeTables(rows=40_000)
    fake.read()
    fake.rows = 50_000
    found = fake.read(NOW + 100)
    assert (products(found, 1), found.complete) == (["40000"], True)
    assert fake.requests.count("Scan") == 2 * PAGES_MAX
    fake.tick(NOW + 300)
    assert products(fake.read(NOW + 301), 1) == ["50000"]


def test_schedule_does_not_overlap_itself_and_recovers_from_a_crash():
    fake = FakeTables(rows=60_000)
    fake.read()
    crashed = top_list.refresh_if_wanted(VIEW, NOW + 300)
    fake.perform(crashed.send(fake.perform(next(crashed))))
    fake.tick(NOW + 600)
    assert not fake.read(NOW + 601).complete
    fake.tick(NOW + 1500)
    assert fake.read(NOW + 1501).complete


# --- Cost of refreshes -------------------------------------------------------------------------------


@pytest.mark.parametrize("viewers", [1, 100])
@pytest.mark.parametrize(
    ("rows", "seconds", "poll_seconds", "age"),
    [(10, 60, 3, 1.1), (10_000, 90, 3, 15), (1_000_000, 6000, 120, 1600)],
)
def test_cost_does_not_grow_with_rows_or_viewers(rows: int, viewers: int, seconds: int, poll_seconds: int, age: float):
    fake = FakeTables(rows)
    most_scans, requests, found = 0, seconds * viewers // poll_seconds, fake.read()
    for n in range(1, requests):
        before, now = NOW + (n - 1) * poll_seconds / viewers, NOW + n * poll_seconds / viewers
        if now // 300 > before // 300:
            fake.tick(now)
        fake.requests.clear()
        found = fake.read(now)
        most_scans = max(most_scans, fake.requests.count("Scan"))
        assert now - found.as_of <= age + poll_seconds  # Between two reads, the list can get older.
    assert most_scans == (0 if rows == 1_000_000 else 1)
    assert (found.complete, products(found, 1)) == (True, [str(rows)])
    assert fake.refresh_units <= UNITS_A_SECOND * seconds + 2 * found.units
    assert fake.read_units <= 2 * (requests + seconds // 300 + 1)
