"""The faults: what each does, and by what it is known to have struck and to be over."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from contract.levels import Level
from highwater.audit.catalog_reader import NORMAL
from highwater.audit.field import DEADLINE_S, Field, UnprovenError
from highwater.audit.kills import (
    kill_after_commit,
    kill_before_commit,
    kill_before_write,
    kill_in_compaction,
    kill_sidecar,
    next_sidecar,
)
from highwater.audit.readers import Connection, is_unavailable, rows_of
from highwater.audit.script import HALT, LOSE, RESPONSE
from highwater.audit.stack import TOPIC
from ingest.breaker import Pin
from ingest.pins import PinFile, pin_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from highwater.audit.catalog_reader import Head

_BURST = 400  # messages
_WARM_ROWS = 12_000  # enough to be sealed into a file
_SEAL_S = 40.0
_TAKE_OVER_S = 15.0
_FENCED, _OPERATOR = 3, 2  # exit codes of the sidecar
_SEALED = "select coalesce(sum(rows), 0) from system.tail_chunks where sealed"


def zombie(field: Field) -> None:
    """A sidecar is halted, another one takes over, the first one goes on and must be refused."""
    old, epoch, before = field.stack.sidecar, field.catalog.head.epoch, field.progress()
    at_commit = field.rng.random() < 0.6
    if at_commit:
        field.stack.script.order("rows.before_commit", HALT)
    else:
        field.sleep(field.some(0, 1))
        old.signal(signal.SIGSTOP)
    try:
        field.wait(old.stopped, "the sidecar was not halted")
        field.stack.start_sidecar()
        try:
            field.wait(
                lambda: field.progress() > before and field.catalog.head.epoch > epoch,
                "the second sidecar did not take over",
                DEADLINE_S if at_commit else _TAKE_OVER_S,
            )
        except UnprovenError:
            if at_commit:
                raise  # elsewhere it may have been halted with the catalog's lock in its hands
    finally:
        old.signal(signal.SIGCONT)
    field.wait(lambda: old.exit_code() is not None, "the zombie was not refused")
    if old.exit_code() != _FENCED:
        raise UnprovenError(f"the zombie ended with {old.exit_code()}: {old.last_words()}")
    field.committing()


def kill_server(field: Field) -> None:
    """SIGKILL of the server, which starts again on what it kept."""
    field.sleep(field.some(0, 1))
    field.stack.end_server(kill=True)
    field.stack.start_server()
    field.answering()


def kill_server_warm(field: Field) -> None:
    """The same with a tail so long that sealed files are mapped again."""
    sidecar = field.stack.sidecar
    field.stack.script.order("rows.before_write", HALT)
    field.wait(sidecar.stopped, "the sidecar was not halted")
    try:
        _burst(field, _WARM_ROWS)
        field.wait(lambda: _sealed_rows(field) > 0, "no part of the tail was sealed", _SEAL_S)
        field.stack.end_server(kill=True)
        field.stack.start_server()
        field.answering()
        field.wait(lambda: _sealed_rows(field) > 0, "the server did not map its tail again")
    finally:
        sidecar.signal(signal.SIGCONT)
    field.committing()


def restart_broker(field: Field) -> None:
    """The broker stops in order and comes back."""
    field.stack.broker.stop()
    _start_broker(field)


def kill_broker(field: Field) -> None:
    """SIGKILL of the broker."""
    field.stack.broker.kill()
    _start_broker(field)


def lock_catalog(field: Field) -> None:
    """Somebody holds the catalog's database for some seconds; answers must go on."""
    with closing(
        sqlite3.connect(field.stack.data_dir / "catalog.db", timeout=20, isolation_level=None)
    ) as connection:
        connection.execute("begin exclusive")
        before = field.ledger.answers
        field.sleep(field.some(2, 7))
        connection.execute("rollback")
    if field.ledger.answers == before:
        raise UnprovenError("no answer came while the catalog was locked")
    field.committing()


def lose_response(field: Field) -> None:
    """A commit lands and its answer is lost; the same process must find that out and go on."""
    script, sidecar = field.stack.script, field.stack.sidecar
    script.order(RESPONSE, LOSE)
    field.wait(script.taken, "no commit came whose answer could be lost")
    field.committing()
    if field.stack.sidecar is not sidecar:
        raise UnprovenError("the sidecar did not outlive the lost answer")


def foreign_append(field: Field) -> None:
    """Another tool appends rows; they are in the table from their snapshot on."""
    snapshot_id = field.tool.append(field.rng)
    field.covered(snapshot_id)
    field.committing()


def foreign_compaction(field: Field) -> None:
    """Another tool replaces all files by few."""
    snapshot_id = field.tool.compact()
    field.covered(snapshot_id)
    field.committing()


def expire_snapshots(field: Field) -> None:
    """Another tool forgets all snapshots but the newest, now and then that of a compaction."""
    if field.rng.random() < 0.5:
        field.tool.compact()
    if not field.tool.expire():
        raise UnprovenError("there was no snapshot to expire")
    field.committing()
    field.answering()


def rollback(field: Field) -> None:
    """Another tool sets the table back; the sidecar must stop, a person starts it again."""
    old = field.stack.sidecar
    field.tool.roll_back(field.rng)
    field.wait(lambda: old.exit_code() is not None, "the sidecar went on over a rolled-back table")
    if old.exit_code() != _OPERATOR:
        raise UnprovenError(f"the sidecar ended with {old.exit_code()}: {old.last_words()}")
    next_sidecar(field)
    field.answering()


def duplicates(field: Field) -> None:
    """Every second message repeats one before it."""
    before = field.knowledge.log.duplicates
    _burst(field, _BURST, "--duplicate-share", "0.5")
    field.wait(lambda: field.knowledge.log.duplicates - before > _BURST // 4, "no duplicates came")


def late(field: Field) -> None:
    """Every second message is up to three days old."""
    before = field.knowledge.log.late
    _burst(field, _BURST, "--late-share", "0.5", "--late-max-s", "259200")
    field.wait(lambda: field.knowledge.log.late - before > _BURST // 4, "no late messages came")


def poison(field: Field) -> None:
    """Every second message is none."""
    before = field.knowledge.log.dead_letters
    _burst(field, _BURST, "--poison-share", "0.5")
    field.wait(lambda: field.knowledge.log.dead_letters - before > _BURST // 4, "no poison came")


def levels(field: Field) -> None:
    """The breaker is forced up and down; what waited must be in the table again afterwards."""
    pin = PinFile(pin_path(field.stack.data_dir, TOPIC))
    try:
        _pin(field, pin, field.rng.choice((Level.MODERATE, Level.SEVERE, Level.CRITICAL)))
        field.wait(lambda: _head(field).spread > 0, "no lane waited")
        for _ in range(field.rng.randrange(2, 5)):
            _pin(field, pin, field.rng.choice(tuple(Level)))
            field.sleep(field.some(0, 1.5))
        if field.rng.random() < 0.5:
            field.stack.sidecar.kill()
            next_sidecar(field)
        _pin(field, pin, Level.NORMAL)
        field.wait(
            lambda: _is_level(_head(field)),
            "the lanes did not come together again",
        )
    finally:
        pin.remove()
    field.answering()


FAULTS: dict[str, Callable[[Field], None]] = {
    "kill-sidecar": kill_sidecar,
    "kill-before-write": kill_before_write,
    "kill-before-commit": kill_before_commit,
    "kill-after-commit": kill_after_commit,
    "kill-in-compaction": kill_in_compaction,
    "zombie": zombie,
    "kill-server": kill_server,
    "kill-server-warm": kill_server_warm,
    "restart-broker": restart_broker,
    "kill-broker": kill_broker,
    "lock-catalog": lock_catalog,
    "lose-response": lose_response,
    "foreign-append": foreign_append,
    "foreign-compaction": foreign_compaction,
    "expire-snapshots": expire_snapshots,
    "rollback": rollback,
    "duplicates": duplicates,
    "late": late,
    "poison": poison,
    "levels": levels,
}


def _pin(field: Field, pin: PinFile, level: Level) -> None:
    pin.write(Pin(level, "the audit", field.clock.wall_s() + DEADLINE_S))


def _is_level(head: Head) -> bool:
    return bool(head.commit_id) and head.spread == 0 and head.level == NORMAL


def _head(field: Field) -> Head:
    field.catalog.refresh()
    return field.catalog.head


def _start_broker(field: Field) -> None:
    field.sleep(field.some(0, 2))
    field.stack.broker.start()
    field.reading()
    field.committing()


def _burst(field: Field, count: int, *shares: str) -> None:
    feed = field.stack.feed(("--rate", "0", "--count", str(count)), shares)
    field.wait(lambda: feed.exit_code() is not None, "the feed of a burst did not end")
    if feed.exit_code():
        raise UnprovenError(f"the feed of a burst failed: {feed.last_words()}")


def _sealed_rows(field: Field) -> int:
    connection = Connection(field.stack.uri)
    try:
        ((rows,),) = rows_of(connection.ask(_SEALED))
    except Exception as error:
        if is_unavailable(error):
            return 0
        raise
    finally:
        connection.close()
    return int(rows or 0)
