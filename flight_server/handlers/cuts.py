"""Which cut a statement reads: that of its transaction, one that it asks for, or that of now."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

from contract.errors import NotFoundError, RequestError
from flight_server.cut.request import AT_LEAST, EXACTLY, WORDS, cut_request
from flight_server.handlers.session import options_of
from flight_server.options import CUT_OPTIONS
from flight_server.ports import Asker
from flight_server.protocol import commands
from flight_server.protocol import flight_sql_pb2 as pb
from flight_server.statements import HandleStore, OwnCut, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from contract.clock import Clock
    from flight_server.handlers.values import Call
    from flight_server.ports import Engine
    from flight_server.protocol.limits import ProtocolLimits
    from flight_server.sessions import Sessions

# The word of each header; names of headers come in lower case.
HEADERS = {f"x-highwater-{word.replace('_', '-')}": word for word in WORDS}
_NAMES_A_CUT = (AT_LEAST, EXACTLY)


class Cuts:
    """Finds the cut, and waits for it where that was asked for."""

    def __init__(
        self,
        engine: Engine,
        sessions: Sessions,
        transactions: HandleStore[Transaction],
        clock: Clock,
        limits: ProtocolLimits,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._engine = engine
        self._sessions = sessions
        self._transactions = transactions
        self._clock = clock
        self._limits = limits
        self._is_stopping = is_stopping
        self._newest: OrderedDict[tuple[str, str], bytes] = OrderedDict()  # of each session
        self._lock = threading.Lock()

    def asker(self, call: Call, sql: str, own: OwnCut, *, follows: bool = False) -> Asker:
        """The caller with the cut that the statement reads.

        `follows`: for a statement that was prepared in a transaction which has ended, take the
        newest one of its session. The driver keeps what it prepared when it commits, begins
        another transaction at once, and has no way to name that one then.

        Raises:
            UnavailableError: the cut that is wanted was not reached in time.
            NotFoundError: the transaction has ended, or the rows of the cut are gone.
            RequestError: what names the cut cannot be read.
        """
        if own.transaction_id is not None:
            if _named(own.words) or _named(_of_headers(call)):
                raise RequestError(
                    "a statement of a transaction reads the transaction's cut: name another one "
                    "where the transaction begins, or leave the transaction"
                )
            return self.describer(call, own, follows=follows)
        asker = self._plain(call)
        request = cut_request(_joined(_of_session(asker), _of_headers(call), own.words))
        if request is None:
            return asker
        return replace(asker, pin=self._engine.pin(request, sql, asker, self._given_up(call)))

    def describer(self, call: Call, own: OwnCut, *, follows: bool = False) -> Asker:
        """The caller where no rows are read: with the cut of its transaction, or that of now."""
        asker = self._plain(call)
        if own.transaction_id is None:
            return asker
        return replace(asker, pin=self._transaction(own.transaction_id, call, follows).pin)

    def begin(self, body: bytes, call: Call) -> list[bytes]:
        """BeginTransaction: pin one cut of all tables, the one asked for or that of now."""
        commands.decode_as(commands.BeginTransaction, body)
        asker = self._plain(call)
        request = cut_request(_joined(_of_session(asker), _of_headers(call)))
        pin = self._engine.pin(request, None, asker, self._given_up(call))
        ends_s = self._clock.monotonic_s() + self._limits.transaction_max_s
        handle = self._transactions.put(Transaction(pin, ends_s), call.principal)
        with self._lock:
            self._newest[call.principal, call.session.session_id] = handle
            while len(self._newest) > self._limits.transactions.entries_max:
                self._newest.popitem(last=False)
        result = pb.ActionBeginTransactionResult(transaction_id=handle)
        return [commands.wrap("ActionBeginTransactionResult", result)]

    def end(self, body: bytes, call: Call) -> list[bytes]:
        """EndTransaction: both ways release the cut; fine if it is gone already."""
        request = commands.decode_as(commands.EndTransaction, body)
        kinds = pb.ActionEndTransactionRequest
        if request.action not in {kinds.END_TRANSACTION_COMMIT, kinds.END_TRANSACTION_ROLLBACK}:
            raise RequestError("a transaction ends with COMMIT or ROLLBACK")
        self._transactions.drop(request.transaction_id, call.principal, "was ended")
        return []

    def _plain(self, call: Call) -> Asker:
        return Asker(call.identity, options_of(call, self._sessions))

    def _transaction(self, handle: bytes, call: Call, follows: bool) -> Transaction:
        try:
            transaction = self._transactions.get(handle, call.principal)
        except NotFoundError:
            newest = self._newest.get((call.principal, call.session.session_id))
            if not follows or newest is None or newest == handle:
                raise
            return self._transaction(newest, call, follows=False)
        if self._clock.monotonic_s() >= transaction.ends_s:
            self._transactions.drop(handle, call.principal, "was too old")
            raise NotFoundError(
                f"the transaction is older than {self._limits.transaction_max_s:g} s, which is its "
                "most: roll back, and begin another one"
            )
        return transaction

    def _given_up(self, call: Call) -> Callable[[], bool]:
        return lambda: call.is_cancelled() or self._is_stopping()


def transaction_store(
    limits: ProtocolLimits, clock: Clock, new_id: Callable[[], bytes]
) -> HandleStore[Transaction]:
    """A store for transactions."""
    return HandleStore(
        "transaction",
        bounds=limits.transactions,
        ttl_s=limits.transaction_idle_s,
        renew=True,
        clock=clock,
        new_id=new_id,
        pinned_bytes=lambda transaction: transaction.pin.pinned_bytes,
        again="roll back, and begin another one",
    )


def _of_session(asker: Asker) -> dict[str, str]:
    found = {word: asker.options[option] for option, word in CUT_OPTIONS.items()}
    return {word: value for word, value in found.items() if value is not None}


def _of_headers(call: Call) -> dict[str, str]:
    return {word: call.headers[name][0] for name, word in HEADERS.items() if call.headers.get(name)}


def _named(words: Mapping[str, str]) -> bool:
    return any(word in words for word in _NAMES_A_CUT)


def _joined(*sources: Mapping[str, str]) -> dict[str, str]:
    """The words of all, from the widest scope to the closest: a cut replaces what was before it."""
    joined: dict[str, str] = {}
    for words in sources:
        if _named(words):
            joined = {word: v for word, v in joined.items() if word not in _NAMES_A_CUT}
        joined |= words
    return joined
