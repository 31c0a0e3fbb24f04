"""Planted wrong answers are called by their name; receipts, ancestry, schedule."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from contract.errors import RequestError
from highwater.audit.faults import FAULTS
from highwater.audit.judge import Asked, Judge, Knowledge
from highwater.audit.ledger import Ledger
from highwater.audit.lineage import FOREIGN_KEY, ForeignRow, Lineage
from highwater.audit.log_model import LogModel
from highwater.audit.questions import KINDS as QUESTIONS
from highwater.audit.questions import Covered, Question, Topics, any_question
from highwater.audit.receipt import Receipt, furthest, is_without, parse_receipt, went_back
from highwater.audit.schedule import KINDS, chosen, rounds
from highwater.audit.verdict import Rows, Verdict, compare
from tests.support.failpoints import HandClock
from tests.unit.audit.test_audit_model import a_cut, a_log, message


def all_questions(log: LogModel) -> dict[str, Question]:
    """One of each kind."""
    rng = Random(1)
    topics = Topics(log.symbols, list(log.recent), log.sample)
    found: dict[str, Question] = {}
    while len(found) < QUESTIONS:
        question = any_question(rng, topics)
        found[question.kind] = question
    return found


def a_ledger() -> tuple[Ledger, list[str]]:
    said: list[str] = []
    return Ledger(HandClock(), said.append), said


def test_of_two_logs_that_differ_by_one_row_the_one_without_it_has_a_gap() -> None:
    whole, holed = LogModel(0, 0), LogModel(0, 0)
    for offset in range(50):
        whole.add(0, offset, 1, message(offset))
        holed.add(0, offset, 1, b"lost" if offset == 30 else message(offset))
    covered = Covered({0: (50, 50, 50)}, {0: (40, 40, 40)})
    for kind in ("count", "sum", "sum of a symbol", "group by", "parts", "join", "self join"):
        question = all_questions(whole)[kind]
        right, wrong = question.expect(whole, covered), question.expect(holed, covered)

        assert compare(right, wrong, question.counts) is Verdict.GAP, kind
        assert compare(wrong, right, question.counts) is Verdict.DUPLICATE, kind
        assert compare(right, right, question.counts) is Verdict.EXACT


@pytest.mark.parametrize(
    ("expected", "found", "counts", "verdict"),
    [
        ([(5,)], [(4,)], (0,), Verdict.GAP),
        ([(5,)], [(6,)], (0,), Verdict.DUPLICATE),
        ([(5, 10)], [(5, 11)], (0,), Verdict.WRONG),
        ([("A", 1), ("B", 2)], [("A", 1)], (1,), Verdict.GAP),
        ([("A", 1)], [("A", 1), ("A", 1)], (), Verdict.DUPLICATE),
        ([("A", 1)], [], (), Verdict.GAP),
        ([("A", 1)], [("A", 2)], (), Verdict.WRONG),
        ([], [], (), Verdict.EXACT),
    ],
)
def test_a_difference_has_its_name(
    expected: Rows, found: Rows, counts: tuple[int, ...], verdict: Verdict
) -> None:
    assert compare(expected, found, counts) is verdict


def test_the_seam_is_one_pair_of_neighbours_per_partition() -> None:
    log = LogModel(0, 0)
    for partition in (0, 1):
        for offset in range(10):
            log.add(partition, offset, 1, message(offset * 2 + partition))
    log.add(1, 10, 1, b"poison")
    log.add(1, 11, 1, message(99))
    seam = all_questions(log)["join at the seam"]

    covered = Covered({0: (10,) * 3, 1: (12,) * 3}, {0: (4,) * 3, 1: (10,) * 3})
    assert seam.expect(log, covered) == [(0, 3, 4)]


def test_a_cut_is_predicted_only_when_the_log_was_read_so_far() -> None:
    log = LogModel(0, 0)
    knowledge = Knowledge(log, Lineage())
    ledger, said = a_ledger()
    judge = Judge(knowledge, ledger)
    judge.start()
    count = all_questions(log)["count"]
    receipt = Receipt({0: (1, 1, 1)}, {}, None, "t")
    judge.submit(Asked(count, [(1,)], receipt))
    judge.submit(Asked(count, [(0,)], Receipt({}, {}, None, "t")))
    assert ledger.answers <= 1
    with knowledge.lock:
        log.add(0, 0, 1, message(1))
    judge.submit(Asked(count, [(1,)], Receipt({0: (9, 9, 9)}, {}, None, "t")))
    judge.finish()

    assert ledger.answers == 3
    assert ledger.result()["wrong"] == 1
    assert "neither log nor catalog has" in said[0]


def test_of_a_torn_run_what_cannot_be_predicted_is_not_counted() -> None:
    ledger, said = a_ledger()
    judge = Judge(Knowledge(LogModel(0, 0), Lineage()), ledger)
    judge.start()
    count = all_questions(a_log(Random(1), 50)[0])["count"]
    judge.submit(Asked(count, [(1,)], Receipt({0: (1, 1, 1)}, {}, None, "t")))
    judge.finish(complete=False)

    assert ledger.answers == 0
    assert ledger.clean
    assert said == []


def test_an_answer_that_cannot_be_compared_is_an_error() -> None:
    def fails(_log: LogModel, _covered: Covered) -> Rows:
        raise KeyError("broken")

    ledger, _ = a_ledger()
    judge = Judge(Knowledge(LogModel(0, 0), Lineage()), ledger)
    judge.start()
    judge.submit(Asked(Question("x", "select", fails), [], Receipt({}, {}, None, "t")))
    judge.finish()

    assert ledger.result()["errors"] == 1
    assert not ledger.clean


def test_a_cut_that_goes_back_on_one_server_is_a_regression_and_on_the_next_one_is_not() -> None:
    ledger, said = a_ledger()
    ledger.answered(1, ledger.floor(1), {0: (5, 5, 5)}, "a")
    ledger.answered(2, ledger.floor(2), {0: (1, 1, 1)}, "b")
    assert ledger.clean
    ledger.answered(1, ledger.floor(1), {0: (5, 4, 9)}, "c")

    assert ledger.result()["regressions"] == 1
    assert said == ["FOUND regressions: the cut went back in partition 0 lane MEDIUM: 5, then 4; c"]


def test_statements_that_were_asked_at_once_may_be_answered_in_any_order() -> None:
    ledger, _ = a_ledger()
    floor = ledger.floor(1)
    ledger.answered(1, floor, {0: (5, 5, 5)}, "a")
    ledger.answered(1, floor, {0: (4, 4, 4)}, "b")

    assert ledger.clean


def test_a_partition_that_vanishes_from_the_cut_went_back() -> None:
    assert went_back({0: (1, 1, 1)}, {}) == "partition 0 lane HIGH: 1, then 0"
    assert furthest({0: (1, 5, 1)}, {0: (2, 3, 1), 1: (1, 1, 1)}) == {0: (2, 5, 1), 1: (1, 1, 1)}


def test_foreign_rows_are_in_every_snapshot_that_descends_from_theirs() -> None:
    lineage, row = Lineage(), ForeignRow("f", 1, 2, 3)
    lineage.announce("1", [row])
    lineage.learn({"snapshots": [snapshot(1, None), snapshot(2, 1, "1"), snapshot(3, 2)]})
    lineage.learn({"snapshots": [snapshot(3, None), snapshot(4, 3), snapshot(5, 1)]})

    held = [len(lineage.foreign(s)) for s in (None, 1, 2, 3, 4, 5)]
    assert held == [0, 0, 1, 1, 1, 0]
    assert lineage.knows(4)
    assert not lineage.knows(6)
    assert lineage.descends(4, 2)
    assert not lineage.descends(5, 2)


def snapshot(snapshot_id: int, parent: int | None, number: str = "") -> dict[str, Any]:
    summary = {"operation": "append", **({FOREIGN_KEY: number} if number else {})}
    return {"snapshot-id": snapshot_id, "parent-snapshot-id": parent, "summary": summary}


def test_a_receipt_is_read() -> None:
    lanes = {"HIGH": 3, "MEDIUM": 4, "LOW": 5}
    table = {"cut": {"0": lanes}, "lake": {"0": lanes}, "snapshot_id": "12", "topic_id": "t"}
    text = json.dumps({"tables": {"trades": table}}).encode()

    assert parse_receipt(text, "trades") == Receipt({0: (3, 4, 5)}, {0: (3, 4, 5)}, 12, "t")


def test_every_kind_of_fault_is_known_to_schedule_and_injector() -> None:
    assert set(FAULTS) == set(KINDS)
    assert chosen(["all"]) == list(KINDS)
    assert chosen(["none"]) == []
    assert chosen(["zombie", "rollback"]) == ["zombie", "rollback"]
    with pytest.raises(RequestError, match="the nearest is kill-server"):
        chosen(["kil-server"])


def test_a_seed_decides_the_order_and_each_round_has_each_kind() -> None:
    first, again = (rounds(KINDS, Random(3), 0) for _ in range(2))
    order = [next(first) for _ in range(3 * len(KINDS))]

    assert order == [next(again) for _ in range(3 * len(KINDS))]
    for start in range(0, len(order), len(KINDS)):
        assert sorted(order[start : start + len(KINDS)]) == sorted(KINDS)
    assert list(rounds([], Random(1), 0)) == []
    assert sorted(rounds(KINDS, Random(1), 1)) == sorted(KINDS)


def test_questions_of_any_log_have_an_answer_for_any_cut() -> None:
    rng = Random(5)
    log, _ = a_log(rng, 300)
    for _ in range(20):
        cut, other = a_cut(rng, log), a_cut(rng, log)
        lake = {p: tuple(map(min, cut[p], other[p])) for p in cut}
        covered = Covered(cut, lake, (ForeignRow("f", 1, 2, 3),))  # type: ignore[arg-type]
        questions = all_questions(log)
        (count,) = questions["count"].expect(log, covered)[0]
        rows, in_lake, in_tail, _ = questions["parts"].expect(log, covered)[0]

        assert count == rows
        assert isinstance(in_lake, int)
        assert isinstance(in_tail, int)
        assert rows == in_lake + in_tail


def test_a_receipt_over_no_view_of_the_table_says_nothing_of_it() -> None:
    assert is_without(b'{"tables": {}}', "trades")
    assert not is_without(b'{"tables": {"trades": {}}}', "trades")
