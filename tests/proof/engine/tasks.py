"""A scheduler for invocations and DynamoDB operations. It runs one step of one task at a time.

An invocation is a greenlet that runs the app's code and pauses when that waits for DynamoDB or sleeps. Each of its
threads is a greenlet too. An operation continues even if its invocation has crashed. `choose` decides which task runs
next, so a seed determines the order.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Any

from greenlet import getcurrent, greenlet

from tests.proof.engine import Choose
from tests.proof.faults import Crash

START = 1_795_003_200  # The start time in epoch seconds, at the beginning of an hour.
REQUEST_SECONDS = 0.001
# A transaction is completely visible at most one second after its start (docs/proof.md).
OPERATION_SECONDS = 1.0
# A longer sleep ends only when no other task can run.
SHORT_SECONDS = 1.0


class Operation:
    """A request in progress in DynamoDB."""

    def __init__(self, running: Generator[None, None, Any], started: float) -> None:
        self.running = running
        self.started = started
        self.done = False
        self.response: Any = None
        self.error: Exception | None = None

    def step(self) -> None:
        """Continue to the next point at which other tasks may run."""
        try:
            next(self.running)
        except StopIteration as end:
            self.done, self.response = True, end.value
        except Exception as error:
            self.done, self.error = True, error

    def result(self) -> Any:
        """Return the response, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.response


class Invocation(greenlet):  # type: ignore[misc]
    """A running invocation, or a thread of one. It is ready to run, waits for an operation or threads, or sleeps."""

    def __init__(self, run: Callable[[], Any], hub: greenlet, process: "Invocation | None" = None) -> None:
        super().__init__(run, hub)
        self.operation: Operation | None = None
        self.wakes_at = 0.0
        self.process = process or self  # The invocation itself, or that of the thread.
        self.threads: Sequence[Thread] = ()  # Those that it waits for.


class Thread(Invocation):
    """A thread of an invocation. It keeps the result of its call, or the error."""

    def __init__(self, call: Callable[[], Any], hub: greenlet, process: Invocation) -> None:
        super().__init__(self._call, hub, process)
        self.call = call
        self.result: Any = None
        self.error: BaseException | None = None

    def _call(self) -> None:
        try:
            self.result = self.call()
        except BaseException as error:
            self.error = error


class Threads:
    """Replaces the app's ThreadPoolExecutor: the threads are tasks of a scheduler."""

    def __init__(self, scheduler: "Scheduler") -> None:
        self.scheduler = scheduler

    def __enter__(self) -> "Threads":
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: `map` has waited for all threads."""

    def map(self, function: Callable[[Any], Any], arguments: Iterable[Any]) -> list[Any]:
        """Return the results, or raise the first error once all threads have ended."""
        if not isinstance(getcurrent(), Invocation):
            return [function(argument) for argument in arguments]
        return self.scheduler.together([partial(function, argument) for argument in arguments])


class Scheduler:
    """The tasks and their clock. `now` is in epoch seconds. `elapsed` counts seconds and never decreases."""

    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        self.now = float(START)
        self.elapsed = 0.0
        self.invocations: list[Invocation] = []
        self.rounds = 0  # How often an invocation has had several requests in flight.
        self.operations: list[Operation] = []
        self._hub: Any = getcurrent()
        self._favorite: Any = None  # The task that usually runs next.
        self._starved: Any = None  # A task that runs only if no other can, or after a second.

    @property
    def idle(self) -> bool:
        """Whether no task is left."""
        return not (self.invocations or self.operations)

    def advance(self, seconds: float) -> None:
        """Let time pass. First finish the operations that would otherwise take longer than a second."""
        for operation in list(self.operations):
            if operation.started + OPERATION_SECONDS <= self.elapsed + seconds:
                while not operation.done:
                    operation.step()
                self.operations.remove(operation)
        self.now += seconds
        self.elapsed += seconds

    # --- Called by invocations -------------------------------------------------------------------

    def start(self, run: Callable[[], Any]) -> None:
        """Add an invocation to the tasks. It runs when it is chosen."""
        self.invocations.append(Invocation(run, self._hub))

    def submit(self, running: Generator[None, None, Any]) -> Operation:
        """Start an operation in DynamoDB."""
        self.now += REQUEST_SECONDS
        self.elapsed += REQUEST_SECONDS
        operation = Operation(running, self.elapsed)
        self.operations.append(operation)
        return operation

    def wait(self, operation: Operation) -> Any:
        """Pause until an operation is done. Return its response or raise its error."""
        current = getcurrent()
        if not isinstance(current, Invocation) or len(self.operations) + len(self.invocations) == 2:
            while not operation.done:
                operation.step()
            self.operations.remove(operation)
            return operation.result()
        current.operation = operation
        self._hub.switch()
        current.operation = None
        return operation.result()

    def sleep(self, seconds: float) -> None:
        """Pause the current invocation for some seconds."""
        current = getcurrent()
        if not isinstance(current, Invocation):
            self.advance(seconds)
            return
        current.wakes_at = self.elapsed + seconds
        self._hub.switch()

    def together(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """Carry out calls in threads of the current invocation, and wait for all of them."""
        current = getcurrent()
        self.rounds += 1
        current.threads = [Thread(call, self._hub, current.process) for call in calls]
        self.invocations += current.threads
        self._hub.switch()
        threads, current.threads = current.threads, ()
        errors = [thread.error for thread in threads if thread.error is not None]
        if errors:
            raise min(errors, key=lambda error: not isinstance(error, Crash))
        return [thread.result for thread in threads]

    # --- Called by tests -------------------------------------------------------------------------

    def step(self) -> None:
        """Run one step of one task."""
        if not self.operations and len(self.invocations) == 1 and self._is_ready(self.invocations[0]):
            self._run(self.invocations[0])
            return
        ready: list[Any] = [*self.operations, *(each for each in self.invocations if self._is_ready(each))]
        sleeping = [each.wakes_at for each in self.invocations if not each.operation and each.wakes_at > self.elapsed]
        pause = min(sleeping) - self.elapsed if sleeping else 0.0
        if sleeping and (not ready or (pause <= SHORT_SECONDS and self.choose(8) == 7)):
            self.advance(pause)
            return
        if len(ready) > 1:
            ready = [task for task in ready if task is not self._starved]
        if len(ready) == 1:
            task = ready[0]
        elif self._favorite in ready and self.choose(4) < 3:
            task = self._favorite
        else:
            task = self._favorite = ready[self.choose(len(ready))]
        self._run(task)
        if isinstance(task, Operation) and not task.done and len(self.invocations) > 1 and self.choose(12) == 11:
            self._starved = task

    def _is_ready(self, invocation: Invocation) -> bool:
        if invocation.operation is not None:
            return invocation.operation.done
        return invocation.wakes_at <= self.elapsed and not self.waits_for_thread(invocation)

    def waits_for_thread(self, invocation: Invocation) -> bool:
        """Return whether threads of an invocation are running that it waits for."""
        return any(thread in self.invocations for thread in invocation.threads)

    def _run(self, task: Any) -> None:
        if isinstance(task, Operation):
            task.step()
            if task.done:
                self.operations.remove(task)
        else:
            task.switch()
            if task.dead:
                self.invocations.remove(task)
                if isinstance(task, Thread) and isinstance(task.error, Crash):
                    self.kill_threads(task.process)

    def kill_threads(self, process: Invocation) -> None:
        """End the threads of an invocation whose process has died. Their requests go on."""
        for thread in [each for each in self.invocations if isinstance(each, Thread) and each.process is process]:
            if thread:  # It has begun.
                thread.throw(Crash)
            thread.error = Crash()
            self.invocations.remove(thread)

    def finish(self) -> None:
        """Run steps until no task is left."""
        while not self.idle:
            self.step()
