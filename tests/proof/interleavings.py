"""Every interleaving of two invocations in a small world: two orders of one product, each placed and amended.

A transaction prepares and commits item by item, and everything else may go on after each of these steps. Invocations
may die at any point, also while a request is carried out. What is left of the request then goes on. At every point at
which no transaction is half visible, the counters must be the sums of the ledger. At the end, Lambda delivers
everything once more, and the totals must be exact.

The app's code cannot be copied in the middle, so each path is run from the start. A state that has been seen before is
not followed again: the tables, what is going on in the database, and all results that each invocation has got so far.
Time stands still. The pause after a conflict ends when no request is being carried out; the first one of an invocation
may also end at any time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from greenlet import getcurrent

from tests.proof.app_on_engine import AppOnEngine
from tests.proof.engine import calm
from tests.proof.engine.tasks import Invocation, Operation, Scheduler
from tests.proof.model import Content, Model

ORDERS = ("order-1", "order-2")


class Case(NamedTuple):
    """The records of the invocations, as ranges of the stream, and what else happens."""

    first: tuple[int, int]
    second: tuple[int, int] | None
    crashes: int  # How many of them may die.
    backfill: bool = False


class Explored(NamedTuple):
    """How much there was."""

    states: int
    paths: int  # Runs from the start to a state that had been seen, or to the end.
    ends: int


class SeenBefore(Exception):
    """This path has come to a state that another one has followed."""


class NoReport:
    """Replaces the app's throttle of lag reports: none is due. They touch no total."""

    def is_due(self, *_: Any) -> bool:
        """Return False."""
        return False


class Explorer(Scheduler):
    """Carries out the steps that `path` chooses, then always the first one that is possible."""

    model: Model

    def __init__(self, path: Sequence[int], seen: set[int], crashes: int) -> None:
        super().__init__(calm)
        self.path = path
        self.seen = seen
        self.crashes = crashes
        self.free = False  # At the end of the path, invocations run as always.
        self.taken: list[int] = []
        self.untried: list[list[int]] = []  # The paths that branch off from this one.
        self._numbers: dict[Any, int] = {}  # Of the invocations.
        self._results: dict[Any, str] = {}  # By invocation.
        self._progress: dict[Operation, list[Any]] = {}  # Its invocation, how many results that had, and the steps.
        self._woken: set[Any] = set()  # Invocations whose pause has ended early.

    def start(self, run: Callable[[], Any]) -> None:
        """Start an invocation."""
        super().start(run)
        self._numbers[self.invocations[-1]] = len(self._numbers)

    def submit(self, running: Any) -> Operation:
        """Have DynamoDB begin with an operation."""
        operation = super().submit(running)
        if not self.free:
            self.now, self.elapsed = float(int(self.now)), 0.0
            current = getcurrent()
            self._progress[operation] = [self._numbers[current], len(self._results.get(current, "")), 0]
        return operation

    def wait(self, operation: Operation) -> Any:
        """Wait for an operation, and return its response or raise its error."""
        if self.free:
            return super().wait(operation)
        current: Any = getcurrent()
        current.operation = operation
        self._hub.switch()
        current.operation = None
        self._results[current] = f"{self._results.get(current, '')} {operation.response or operation.error!r}"
        return operation.result()

    def sleep(self, seconds: float) -> None:
        """Let the current invocation wait."""
        if self.free:
            super().sleep(seconds)
        elif seconds:
            current: Any = getcurrent()
            current.wakes_at = seconds
            self._hub.switch()
            current.wakes_at = 0.0

    def step(self) -> None:
        """Decide which step comes next, and carry it out."""
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
        """Yield the tasks that can go on, and those that can die."""
        for operation in self.operations:
            yield operation, False
        for invocation in self.invocations:
            if self._can_go_on(invocation):
                yield invocation, False
        for invocation in self.invocations:
            if self.crashes and invocation:  # A greenlet is true while it runs.
                yield invocation, True

    def _can_go_on(self, invocation: Invocation) -> bool:
        if invocation.operation is not None:
            return invocation.operation.done
        return not (invocation.wakes_at and self.operations and invocation in self._woken)

    def _state(self) -> str:
        """Return all that decides how it goes on."""
        tables = [
            sorted((key, repr(place.item)) for key, place in table.places.items() if place.item)
            for table in self.model.database.tables.values()
        ]
        invocations = [
            (self._numbers[each], bool(each), self._results.get(each), each.wakes_at, each in self._woken)
            for each in self.invocations
        ]
        operations = [self._progress[each] for each in self.operations]
        waiting = [each.operation and each.operation.done for each in self.invocations]
        return repr((tables, invocations, operations, waiting, self.crashes))


def explore(app: AppOnEngine, case: Case) -> Explored:
    """Follow every path of a case. Raises AssertionError if one ends with a wrong total."""
    seen: set[int] = set()
    paths: list[list[int]] = [[]]
    followed = ends = 0
    while paths:
        followed += 1
        explorer = Explorer(paths.pop(), seen, case.crashes)
        try:
            follow(app, case, explorer)
            ends += 1
        except SeenBefore:
            for invocation in list(explorer.invocations):
                explorer.model.kill(invocation)
        except AssertionError as error:
            error.add_note("\n".join([f"{case}, path {explorer.taken}:", *explorer.model.log]))
            raise
        paths += explorer.untried
    return Explored(len(seen), followed, ends)


def follow(app: AppOnEngine, case: Case, explorer: Explorer) -> None:
    """Run one path from the start, then deliver everything once more and check it."""
    model = explorer.model = Model(app, calm, scheduler=explorer)
    app.shell.lag_throttle = NoReport()
    for order_id in ORDERS:
        model.put(order_id, Content("Pen", 2))
    for order_id in ORDERS:
        model.put(order_id, Content("Pen", 5))
    (mapping,), (shard,) = model.mappings, model.shards
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
