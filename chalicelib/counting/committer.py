"""A settlement: what is asked of DynamoDB, one request after another, until a batch of orders is counted.

It is sans I/O: app.py takes the next request from here, makes it, and hands back the answer. It makes none
itself, sleeps not and knows no clock. Its laws, walked by tests/unit/test_settlement.py:

1. New orders are assumed to be new: no read. The first one that turns out to be known already is taken for
   a sign of a redelivered batch, and what is still assumed is read instead.
2. A change that is refused is planned again from the entry that refused it.
3. What was refused because DynamoDB was busy is asked for again, after a pause that grows while it stays so.
4. An order that can never be counted is set apart: it ends in `set_apart`, and all other orders are counted.
   Either DynamoDB refuses its change for good, or its ledger entry cannot be read.
5. It ends when nothing is left to do, and then every order's change has been committed, was not needed,
   or stands in `stale` or `set_apart`.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chalicelib.counting import ledger, transactions
from chalicelib.counting.ledger import Change, ChangeRecord, Entry, Status
from chalicelib.counting.transactions import Transaction
from chalicelib.orders import Item

# API reference, BatchGetItem: up to 100 items.
READ_MAX_KEYS = 100

_FIRST_PAUSE_SECONDS = 0.025
_LONGEST_PAUSE_SECONDS = 1.0


def pause_seconds(tries: int) -> float:
    """How long to wait at the most after this many tries in a row that DynamoDB was too busy for."""
    return min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(tries, 10)) if tries else 0.0


class Read(NamedTuple):
    """A request for ledger entries, at most READ_MAX_KEYS."""

    order_ids: Sequence[str]


@dataclass
class CommitCounts:
    """What a settlement has done so far."""

    applied: int = 0  # Orders of which the entry says something else than before.
    unchanged: int = 0  # Orders of which it said that already.
    transactions: int = 0  # Requests, cancelled ones too.
    conflicts: int = 0  # Transactions that were refused because DynamoDB was busy with their items.
    reads: int = 0  # Requests.
    rejected: dict[str, Mapping[str, str]] = field(default_factory=dict)  # FieldErrors by order.


class Committer:
    """The way of a batch of orders into the ledger and the counters."""

    def __init__(
        self,
        plan: Callable[[Entry], Entry | None],
        *,
        known: Iterable[Entry] = (),
        assumed_new: Sequence[str] = (),
        unread: Iterable[str] = (),
        rebuild: bool = False,
    ) -> None:
        """`plan(entry)` returns the next entry, the same object if nothing changes, or None if the entry is stale.

        The order of a stale entry ends in `stale`. An unreadable entry is planned only with `rebuild`.
        """
        self.counts = CommitCounts()
        self.stale: list[str] = []
        self.set_apart: dict[str, str] = {}  # Why, by order.
        self._plan = plan
        self._rebuild = rebuild
        self._entries = {entry.order_id: entry for entry in known}
        self._entries.update((order_id, ledger.absent(order_id)) for order_id in assumed_new)
        self._assumed_new = set(assumed_new)
        self._unread = deque(unread)
        self._transactions: deque[Transaction] = deque()
        self._busy_in_a_row = 0

    @property
    def pause_seconds(self) -> float:
        """How long to wait at the most before the next request; the caller adds the jitter."""
        return pause_seconds(self._busy_in_a_row)

    def next_request(self) -> Read | Transaction | None:
        """Return what to ask DynamoDB for; None when all is done."""
        if self._unread:
            return Read([self._unread[index] for index in range(min(READ_MAX_KEYS, len(self._unread)))])
        if not self._transactions:
            self._transactions.extend(transactions.pack(self._plan_changes()))
        return self._transactions[0] if self._transactions else None

    def receive_entries(self, request: Read, items: Mapping[str, Item]) -> None:
        """Takes the answer to a Read: the entries' items by order; one that is missing is not there."""
        self.counts.reads += 1
        for order_id in request.order_ids:
            self._unread.popleft()
            self._entries[order_id] = ledger.entry(order_id, items.get(order_id))

    def receive_reasons(self, transaction: Transaction, reasons: Sequence[Mapping[str, Any]]) -> None:
        """Takes the answer to a Transaction: why it was cancelled; no reasons if it was committed."""
        self.counts.transactions += 1
        self._transactions.popleft()
        if not reasons:
            self._busy_in_a_row = 0
            self._commit(transaction)
            return
        cancellation = transactions.cancellation(transaction, reasons)
        self._busy_in_a_row = self._busy_in_a_row + 1 if cancellation.retryable else 0
        self.counts.conflicts += cancellation.retryable
        if cancellation.fatal:
            self._isolate(transaction, cancellation.fatal)
        else:
            self._plan_again(transaction, cancellation.conflicts)

    def _plan_changes(self) -> list[Change]:
        changes = []
        for order_id, before in self._entries.items():
            if before.unreadable and not self._rebuild:
                self.set_apart[order_id] = f"Its ledger entry cannot be read: {before.unreadable}"
                continue
            after = self._plan(before)
            if after is None:
                self.stale.append(order_id)
                continue
            change = ledger.change(before, after)
            if change is None:
                self.counts.unchanged += 1
            else:
                changes.append(change)
        self._entries.clear()
        return changes

    def _commit(self, transaction: Transaction) -> None:
        for change in transaction.changes:
            if change.only_advances_position:
                self.counts.unchanged += 1
                continue
            self.counts.applied += 1
            if change.after.status is Status.REJECTED:
                self.counts.rejected[change.after.order_id] = change.after.problems

    def _plan_again(self, transaction: Transaction, refused: Mapping[str, Item | None]) -> None:
        for change in transaction.changes:
            order_id = change.before.order_id
            self._entries[order_id] = (
                ledger.entry(order_id, refused[order_id]) if order_id in refused else change.before
            )
        if not self._assumed_new.isdisjoint(refused):
            self._assumed_new.difference_update(refused)
            self._stop_assuming()

    def _stop_assuming(self) -> None:
        """Law 1: takes everything back that is not on its way yet, to read what is only assumed of it."""
        for transaction in self._transactions:
            for change in transaction.changes:
                self._entries[change.before.order_id] = change.before
        self._transactions.clear()
        assumed = [order_id for order_id in self._entries if order_id in self._assumed_new]
        for order_id in assumed:
            del self._entries[order_id]
        self._unread.extend(assumed)
        self._assumed_new.clear()

    def _isolate(self, transaction: Transaction, why: str) -> None:
        """Find the changes that DynamoDB refuses by splitting the transaction in split (law 4)."""
        if len(transaction.changes) == 1:
            self.set_apart[transaction.changes[0].before.order_id] = why
        else:
            self._transactions.extendleft(transactions.split(transaction))


def for_stream(news: Mapping[str, Sequence[ChangeRecord]]) -> Committer:
    """The settlement of a batch of stream records, by order and oldest first."""
    return Committer(
        lambda entry: ledger.apply_all(entry, news[entry.order_id]),
        assumed_new=[order_id for order_id, records in news.items() if records[0].is_insert],
        unread=[order_id for order_id, records in news.items() if not records[0].is_insert],
    )
