"""Explore the interleavings of two invocations with two orders of one product, each placed and amended.

A transaction prepares and commits item by item, and other tasks may run after each step. Invocations may crash at any
point, even during a request, which then continues. Whenever no transaction is half visible, the counters must equal the
sums of the ledger. At the end, everything is delivered once more, and the totals must be exact.

The app's code cannot be copied while it runs, so each path runs from the start. A path ends early at a state that has
been seen before. A state is the tables, the operations in progress, and the results that each invocation has received.
It does not hold what an operation in progress has read or locked, so some interleavings are not followed.
Time does not advance. A pause after a conflict ends when no request is in progress. An invocation's first pause may
also end at any time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from greenlet import getcurrent

from tests.proof.app_on_engine import AppOnEngine
from tests.proof.engine import calm
from tests.proof.engine.tasks import Invocation, Operation, Scheduler, Thread
from tests.proof.model import Content, Model
from tests.proof.schedules import one_order_a_request

ORDERS = ("order-1", "order-2")


class Case(NamedTuple):
    """A case to explore: the records that each invocation gets, and whether crashes or a backfill may happen."""

    first: tuple[int, int]
    second: tuple[int, int] | None
    crashes: int  # The number of invocations that may crash.
    backfill: bool = False
    rounds: bool = False  # The orders have two products and are counted before, so their requests go out together.


class Explored(NamedTuple):
    """The number of states and paths that were explored."""

    states: int
    paths: int  # The number of paths that were run.
    ends: int


class SeenBefore(Exception):
    """This path has reached a state that another path has reached before."""


class NoReport:
    """Replace the app's lag reporter, so that no report is written. Lag reports do not change totals."""

    def report(self, *_: Any) -> None:
        """Return no report."""


class Explorer(Scheduler):
    """A scheduler that takes the steps in `path`, and after that always the first possible step."""

    model: Model

    def __init__(self, path: Sequence[int], seen: set[int], crashes: int) -> None:
        super().__init__(calm)
        self.path = path
        self.seen = seen
        self.crashes = crashes
        self.free = False  # Whether the exploration has ended and tasks run as usual.
        self.taken: list[int] = []
        self.untried: list[list[int]] = []  # The paths that branch off from this path.
        self._numbers: dict[Any, int] = {}  # The number of each invocation.
        self._results: dict[tuple[int, int], str] = {}  # The results that each thread has received.
        self._progress: dict[Operation, list[Any]] = {}  # For each operation: thread, results before it, steps.
        self._woken: set[Any] = set()  # The invocations whose first pause ended early.

    def start(self, run: Callable[[], Any]) -> None:
        """Add an invocation to the tasks."""
        super().start(run)
        self._numbers[self.invocations[-1]] = len(self._numbers)

    def submit(self, running: Any) -> Operation:
        """Start an operation in DynamoDB."""
        operation = super().submit(running)
        if not self.free:
            self.now, self.elapsed = float(int(self.now)), 0.0
            number = self._number(getcurrent())
            self._progress[operation] = [number, len(self._results.get(number, "")), 0]
        return operation

    def wait(self, operation: Operation) -> Any:
        """Pause until an operation is done. Return its response or raise its error."""
        if self.free:
            return super().wait(operation)
        current: Any = getcurrent()
        current.operation = operation
        self._hub.switch()
        current.operation = None
        number = self._number(current)
        self._results[number] = f"{self._results.get(number, '')} {operation.response or operation.error!r}"
        return operation.result()

    def sleep(self, seconds: float) -> None:
        """Pause the current invocation."""
        if self.free:
            super().sleep(seconds)
        elif seconds:
            current: Any = getcurrent()
            current.wakes_at = seconds
            self._hub.switch()
            current.wakes_at = 0.0

    def step(self) -> None:
        """Choose the next step and carry it out."""
        if self.free:
            super().step()
            return
        options = list(self._options())
        at = len(self.taken)
        chosen = self.path[at] if at < len(self.path) else 0
        if at >= len(self.path):
            state = hash(self._state())
            if state in self.seen:
                raise SeenBefore
            self.seen.add(state)
            self.untried += [[*self.taken, other] for other in range(1, len(options))]
        self.taken.append(chosen)
        task, dies = options[chosen]
        if dies:
            self.crashes -= 1
            self.model.kill(task)
            return
        if isinstance(task, Operation):
            self._progress[task][2] += 1
        elif task.wakes_at and self.operations:
            self._woken.add(task)
        self._run(task)

    def _options(self) -> Iterator[tuple[Any, bool]]:
        """Yield each possible step: a task, and whether the task crashes instead of continuing."""
        for operation in self.operations:
            yield operation, False
        for invocation in self.invocations:
            if self._can_go_on(invocation):
                yield invocation, False
        for invocation in self.invocations:
            # A greenlet is truthy while it runs.
            if self.crashes and invocation and not isinstance(invocation, Thread):
                yield invocation, True

    def _can_go_on(self, invocation: Invocation) -> bool:
        if invocation.operation is not None:
            return invocation.operation.done
        if self.waits_for_thread(invocation):
            return False
        return not (invocation.wakes_at and self.operations and invocation in self._woken)

    def _number(self, invocation: Invocation) -> tuple[int, int]:
        """Return the number of an invocation and that of its thread, 0 for the invocation itself."""
        thread = 1 + invocation.process.threads.index(invocation) if isinstance(invocation, Thread) else 0
        return self._numbers[invocation.process], thread

    def _state(self) -> str:
        """Return a text with everything that determines which steps can follow."""
        tables = [
            sorted((key, repr(place.item)) for key, place in table.places.items() if place.item)
            for table in self.model.database.tables.values()
        ]
        invocations = sorted(
            (self._number(each), bool(each), each.wakes_at, each in self._woken, each.operation and each.operation.done)
            for each in self.invocations
        )
        running = {number for (number, _), *_ in invocations}
        results = sorted(each for each in self._results.items() if each[0][0] in running)
        operations = sorted(self._progress[each] for each in self.operations)
        return repr((tables, invocations, results, operations, self.crashes))


def explore(app: AppOnEngine, case: Case) -> Explored:
    """Follow every path of a case. Raise AssertionError if a path ends with a wrong total."""
    seen: set[int] = set()
    paths: list[list[int]] = [[]]
    followed = ends = 0
    while paths:
        followed += 1
        explorer = Explorer(paths.pop(), seen, case.crashes)
        try:
            with one_order_a_request() if case.rounds else nullcontext():
                follow(app, case, explorer)
            ends += 1
        except SeenBefore:
            for invocation in {each.process for each in explorer.invocations}:
                explorer.model.kill(invocation)
        except AssertionError as error:
            error.add_note("\n".join([f"{case}, path {explorer.taken}:", *explorer.model.log]))
            raise
        paths += explorer.untried
    return Explored(len(seen), followed, ends)


def follow(app: AppOnEngine, case: Case, explorer: Explorer) -> None:
    """Run one path from the start. Then deliver all records once more and check the totals."""
    model = explorer.model = Model(app, calm, scheduler=explorer)
    app.shell.lag_reporter = NoReport()
    products = ("Pen", "Ink" if case.rounds else "Pen")
    (mapping,), (shard,) = model.mappings, model.shards
    for order_id, product in zip(ORDERS, products, strict=True):
        model.put(order_id, Content(product, 2))
    if case.rounds:
        explorer.free = True
        model.deliver(mapping, shard, 0, len(shard.records))
        model.finish()
        explorer.free = False
    for order_id, product in zip(ORDERS, products, strict=True):
        model.put(order_id, Content(product, 5))
    for batch in (case.first, case.second):
        if batch:
            model.deliver(mapping, shard, *batch)
    if case.backfill:
        model.backfill()
    while not explorer.idle:
        model.step()
        if len(explorer.taken) > len(explorer.path):
            model.check_ledger()
    explorer.free = True
    model.deliver(mapping, shard, 0, len(shard.records))
    model.finish()
    model.check_all()
