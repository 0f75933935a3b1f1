"""The committer: an optimistic commit loop that counts a batch of orders.

It plans a change for each order, packs the changes into transactions, and handles the result of each transaction. Its
invariants, explained in docs/design.md:

- new-until-refused: if an order's first record is an INSERT, assume that it has no entry, and do not read it. If that
  is wrong for one order, the batch was redelivered, so read all remaining entries.
- conflicts-are-replanned: if an entry has changed since it was read, plan its change again from the current entry.
- busy-is-retried-with-growing-pauses: retry a transaction for which DynamoDB is too busy, until the invocation ends.
- one-change-at-a-time: requests that are in flight at the same time (a round) share no entry and no counter. So they
  do not conflict with each other, and any of them may be carried out, in any order.
- fatal-is-set-apart: an order that can never be counted ends in `set_apart`, and all others are counted. Either
  DynamoDB will never accept its change, or its ledger entry is unreadable.
- every-order-ends: in the end, each order is committed, unchanged, stale or set apart.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib import tables
from chalicelib.counting import entry_item, ledger, transactions
from chalicelib.counting.ledger import Change, ChangeRecord, Entry, Status
from chalicelib.counting.transactions import Transaction
from chalicelib.effects import READ_MAX_KEYS, BatchGet, Cancelled, Sleep, Steps, Transact, together
from chalicelib.orders import Item
from chalicelib.views import CounterKey

ROUND_MAX = 8
"""At most so many requests go out at the same time. botocore keeps 10 connections."""

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 8.0


def pause_seconds(tries: int) -> float:
    """Return the longest pause after `tries` consecutive tries for which DynamoDB was too busy."""
    return min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 4.0 ** (min(tries, 10) - 1)) if tries else 0.0


@dataclass
class CommitCounts:
    """The counts and problems of a committer's work so far."""

    applied: int = 0  # Orders whose entry was written with new content.
    unchanged: int = 0  # Orders whose entry already had the same content.
    transactions: int = 0  # Transactions sent, including cancelled ones.
    conflicts: int = 0  # Transactions for which DynamoDB was too busy.
    reads: int = 0  # BatchGetItem requests.
    rejected: dict[str, Mapping[str, str]] = field(default_factory=dict)  # The field errors of invalid orders.
    view_problems: dict[str, Mapping[str, str]] = field(default_factory=dict)  # The views that failed, by order.
    counted: list[str] = field(default_factory=list)  # Orders that are now counted with their present content.


class Committer:
    """Commit the changes of a batch of orders."""

    def __init__(
        self,
        plan: Callable[[Entry], Entry | None],
        *,
        known: Iterable[Entry] = (),
        assumed_new: Sequence[str] = (),
        unread: Iterable[str] = (),
        rebuild: bool = False,
        now: int = 0,
    ) -> None:
        """`plan(entry)` returns the next entry, the same object if nothing changes, or None if the entry is stale.

        The orders come as entries (`known`), as ids assumed to have no entry (`assumed_new`), or as ids to read first
        (`unread`). With `rebuild`, plan unreadable entries too. Do not change rows that have expired at `now`, in epoch
        seconds.
        """
        self.counts = CommitCounts()
        self.stale: list[str] = []
        self.set_apart: dict[str, str] = {}  # For each order set apart, the reason.
        self._plan = plan
        self._rebuild = rebuild
        self._now = now
        self._entries = {entry.order_id: entry for entry in known}
        self._entries.update((order_id, ledger.absent(order_id)) for order_id in assumed_new)
        self._assumed_new = set(assumed_new)
        self._unread = list(unread)
        self._changes: list[Change] = []  # Planned, but not packed.
        self._transactions: list[Transaction] = []  # A stack: the next transaction is the last one.
        self._busy_in_a_row = 0
        self._round_max = 1 if assumed_new else ROUND_MAX

    def steps(self) -> Steps[None]:
        """Yield effects until every order is committed, unchanged, stale or set apart."""
        while self._unread or self._transactions or self._plan_transactions():
            if self._busy_in_a_row:
                yield Sleep(pause_seconds(self._busy_in_a_row), jitter=True)
            if self._unread:
                yield from self._read_entries()
            else:
                yield from self._transact(self._next_round())

    def _read_entries(self) -> Steps[None]:
        starts = range(0, len(self._unread), READ_MAX_KEYS)[:ROUND_MAX]
        pages = [self._unread[start : start + READ_MAX_KEYS] for start in starts]
        del self._unread[: ROUND_MAX * READ_MAX_KEYS]
        reads = [BatchGet(tables.LEDGER, [(order_id,) for order_id in order_ids]) for order_ids in pages]
        for order_ids, items in zip(pages, (yield from together(reads)), strict=True):
            self.counts.reads += 1
            for order_id in order_ids:
                self._entries[order_id] = entry_item.from_item(order_id, items.get((order_id,)))

    def _plan_transactions(self) -> bool:
        """Plan a change for each entry that has been read. Return whether there are transactions to commit."""
        for order_id, before in self._entries.items():
            if before.unreadable and not self._rebuild:
                self.set_apart[order_id] = f"Its ledger entry cannot be read: {before.unreadable}"
                continue
            after = self._plan(before)
            if after is None:
                self.stale.append(order_id)
                continue
            change = ledger.change(before, after, self._now)
            if change is None:
                self.counts.unchanged += 1
            else:
                self._changes.append(change)
        self._entries.clear()
        self._transactions = transactions.pack(self._changes)[::-1]
        self._changes.clear()
        return bool(self._transactions)

    def _next_round(self) -> list[Transaction]:
        """Take the transactions that go out at the same time (one-change-at-a-time).

        Packed in order, each shares counters only with its neighbors, so half of them can go. The first one goes alone:
        it tells whether a batch was redelivered. So does the one after a conflict.
        """
        taken: list[Transaction] = []
        left: list[Transaction] = []
        counters: set[CounterKey] = set()
        for transaction in reversed(self._transactions):
            if len(taken) < self._round_max and counters.isdisjoint(transaction.increments):
                taken.append(transaction)
                counters.update(transaction.increments)
            else:
                left.append(transaction)
        self._transactions = left[::-1]
        return taken

    def _transact(self, sent: Sequence[Transaction]) -> Steps[None]:
        assumed_new, conflicts = len(self._assumed_new), self.counts.conflicts
        results = yield from together([Transact(transaction) for transaction in sent])
        for transaction, result in zip(sent, results, strict=True):
            self.counts.transactions += 1
            if isinstance(result, Cancelled):
                self._cancelled(transaction, result)
            else:
                self._committed(transaction)
        if len(self._assumed_new) < assumed_new:
            self._stop_assuming()
        is_busy = self.counts.conflicts > conflicts
        self._busy_in_a_row = self._busy_in_a_row + 1 if is_busy else 0
        self._round_max = 1 if is_busy else ROUND_MAX

    def _committed(self, transaction: Transaction) -> None:
        for change in transaction.changes:
            if change.only_advances_position:
                self.counts.unchanged += 1
                continue
            self.counts.applied += 1
            if change.after.status is Status.COUNTED:
                self.counts.counted.append(change.after.order_id)
            if change.after.problems:
                rejected = change.after.status is Status.REJECTED
                problems = self.counts.rejected if rejected else self.counts.view_problems
                problems[change.after.order_id] = change.after.problems

    def _cancelled(self, transaction: Transaction, result: Cancelled) -> None:
        cancellation = transactions.cancellation(transaction, result.reasons)
        self.counts.conflicts += cancellation.retryable
        if cancellation.fatal:
            self._isolate(transaction, cancellation.fatal)
        else:
            self._plan_again(transaction, cancellation.conflicts)

    def _plan_again(self, transaction: Transaction, conflicts: Mapping[str, Item | None]) -> None:
        """Keep the transaction's changes for the next packing. Plan those in conflict from the current entries."""
        for change in transaction.changes:
            order_id = change.before.order_id
            if order_id in conflicts:
                self._entries[order_id] = entry_item.from_item(order_id, conflicts[order_id])
            else:
                self._changes.append(change)
        self._assumed_new.difference_update(conflicts)

    def _stop_assuming(self) -> None:
        """Read the entries of all orders that are still assumed to be new (new-until-refused)."""
        planned = [*self._changes, *(change for each in reversed(self._transactions) for change in each.changes)]
        self._changes = [change for change in planned if change.before.order_id not in self._assumed_new]
        self._unread += [change.before.order_id for change in planned if change.before.order_id in self._assumed_new]
        self._transactions.clear()
        self._assumed_new.clear()

    def _isolate(self, transaction: Transaction, reason: str) -> None:
        """Split the transaction to find the change that DynamoDB will never accept (fatal-is-set-apart)."""
        if len(transaction.changes) == 1:
            self.set_apart[transaction.changes[0].before.order_id] = reason
        else:
            self._transactions.extend(transactions.split(transaction))


def for_stream(records_by_order: Mapping[str, Sequence[ChangeRecord]], now: int = 0) -> Committer:
    """Return the committer for a batch of stream records. Each order's records must be sorted, oldest first.

    `now` is in epoch seconds.
    """
    return Committer(
        lambda entry: ledger.apply_all(entry, records_by_order[entry.order_id]),
        assumed_new=[order_id for order_id, records in records_by_order.items() if records[0].is_insert],
        unread=[order_id for order_id, records in records_by_order.items() if not records[0].is_insert],
        now=now,
    )
