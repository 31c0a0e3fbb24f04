"""An earlier cut asked for again: the same rows, whatever became of lake and tail since."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from contract.errors import HighwaterError, NotFoundError, RequestError, UnavailableError
from contract.marker import Gap
from contract.table import LANES, OFFSET, Lane
from flight_server.cut.request import cut_request
from flight_server.options import DEFAULTS
from flight_server.ports import Asker
from flight_server.query import live_at, statement
from tests.support.cuts import PARTITIONS, QUESTIONS, Answer, CutWorld, some_commit
from tests.support.joint import sample_messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALL = sample_messages()
MESSAGES = [[*ALL[:150], b"{", *ALL[150:300]], [b"[1]", *ALL[2_500:2_800]]]
COUNT = "SELECT count(*) AS n FROM trades"


@pytest.fixture
def world(tmp_path: Path) -> CutWorld:
    return CutWorld.make(tmp_path, MESSAGES)


def every(offset: int) -> dict[int, tuple[int, ...]]:
    """All lanes of both partitions at this offset."""
    return dict.fromkeys(PARTITIONS, (offset,) * len(LANES))


def answers(world: CutWorld) -> list[Answer]:
    """Every question, asked now."""
    return [world.ask(sql) for sql in QUESTIONS]


def check_again(world: CutWorld, given: list[Answer]) -> None:
    """Each has the same rows again, and its receipt the same cut."""
    for answer in given:
        again = world.ask_again(answer)
        assert again.rows == answer.rows, answer.sql
        for key in ("cut", "lake", "gaps", "others", "topic_id", "table_id"):
            assert again.table[key] == answer.table[key]


def edited(receipt: str, **changes: Any) -> str:
    """The receipt with other values in its part of the table."""
    parsed = json.loads(receipt)
    parsed["tables"]["trades"] |= changes
    return json.dumps(parsed)


def test_rows_that_moved_from_tail_to_lake_are_the_same_again(world: CutWorld) -> None:
    world.follow(0, 100)
    world.follow(1, 50)
    given = answers(world)
    check_again(world, given)
    world.commit(every(40))
    given += answers(world)
    world.follow(0, 200)
    world.commit({0: (250, 130, 60), 1: (50, 50, 40)})
    given += answers(world)
    world.commit(every(250))

    check_again(world, given)


def test_a_cut_whose_lanes_end_apart_is_the_same_again(world: CutWorld) -> None:
    world.follow(0, 60)
    world.commit({0: (120, 90, 30), 1: (0, 0, 0)})
    given = answers(world)
    cut = given[0].table["cut"]["0"]
    world.follow(0, 200)
    world.commit(every(200))

    assert len(set(cut.values())) > 1
    check_again(world, given)


@pytest.mark.parametrize("seed", range(3))
def test_any_history_gives_every_answer_again_or_says_why_not(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polls, commits lane by lane, compactions, foreign rows, expiry, roll-backs, restarts."""
    monkeypatch.setattr(statement, "FEW_FILES", seed)  # so that files are pruned as well
    if seed == 2:  # as with many partitions
        monkeypatch.setattr(live_at, "_PLAIN_PARTITIONS_MAX", 0)
    rng = Random(seed)
    world = CutWorld.make(tmp_path, MESSAGES)
    given: list[tuple[Answer, frozenset[int]]] = []
    kept = 0
    for _ in range(28):
        step(world, rng)
        given.append((world.ask(rng.choice(QUESTIONS)), world.foreign))
        for answer, foreign in rng.sample(given, min(4, len(given))):
            below = {o for o in world.foreign if o <= max(foreign, default=-1)}
            if below == foreign:
                check_again(world, [answer])
                kept += 1
                continue
            with pytest.raises(NotFoundError, match="rows of other writers, and not the same ones"):
                world.ask_again(answer)

    assert kept > 40


def step(world: CutWorld, rng: Random) -> None:
    """Anything that may happen to a table."""
    steps: dict[str, tuple[int, Callable[[], None]]] = {
        "poll": (4, lambda: world.follow(rng.choice(PARTITIONS), rng.randint(0, 40))),
        "commit": (3, lambda: world.commit(some_commit(world, rng))),
        "foreign rows": (1, lambda: world.append_foreign(rng.randint(1, 4))),
        "compaction": (1, world.compact),
        "roll-back": (1, lambda: world.roll_back(rng.randint(1, 2))),
        "restart": (1, world.restart),
        "expiry": (1, world.expire),
    }
    (name,) = rng.choices(list(steps), [weight for weight, _ in steps.values()])
    steps[name][1]()


def test_files_beyond_the_cut_are_not_read_and_those_below_it_have_no_filter(
    world: CutWorld,
) -> None:
    world.follow(0, 300)
    world.commit({0: (100,) * 3, 1: (0, 0, 0)})
    answer = world.ask(COUNT)
    world.commit({0: (200,) * 3, 1: (0, 0, 0)})
    early = world.ask(COUNT)
    world.commit({0: (301,) * 3, 1: (0, 0, 0)})
    receipt = edited(answer.receipt, cut=answer.table["lake"])
    request = cut_request({"exactly": receipt})
    plan = world.joint.engine.plan(COUNT, asker=Asker(pin=world.joint.engine.pin(request)))

    assert [b.to_pylist() for b in plan.stream()] == [[{"n": 100}]]
    assert sum(len(f) for f in plan._files) == 1
    assert "Filter" not in str(plan._frame.optimized_logical_plan())
    assert world.ask_again(early).rows == early.rows


def test_rows_that_another_writer_appended_since_are_left_out(world: CutWorld) -> None:
    world.follow(0, 80)
    before = world.ask(COUNT)
    world.append_foreign(3)
    during = world.ask(COUNT)
    world.append_foreign(4)
    world.compact()
    world.expire()

    assert world.ask(COUNT).rows == [{"n": before.rows[0]["n"] + 7}]
    assert world.ask_again(before).rows == before.rows
    assert world.ask_again(during).rows == [{"n": before.rows[0]["n"] + 3}]
    assert during.table["others"]["rows"] == 3


@pytest.mark.parametrize("where", ["lake", "tail"])
def test_a_cut_with_rows_that_retention_took_is_refused(where: str, world: CutWorld) -> None:
    world.follow(0, 80)
    if where == "lake":
        world.commit(every(50))
    answer = world.ask(COUNT)
    early = world.ask_again(answer)
    if where == "lake":
        world.roll_back(1)
    world.gaps = (Gap(0, 0, 20, "retention", 1),)
    world.commit({0: (60,) * 3, 1: (0, 0, 0)})
    world.restart()

    assert early.rows == answer.rows
    with pytest.raises(NotFoundError, match=r"offsets 0 to 19 of partition 0 .* retention took"):
        world.ask_again(answer)
    later = world.ask(COUNT)
    world.commit({0: (70,) * 3, 1: (0, 0, 0)})
    assert world.ask_again(later).rows == later.rows


def test_a_gap_of_one_lane_is_one_of_its_rows_only(world: CutWorld) -> None:
    """Lane LOW waited, and retention was faster: the others had been read."""
    world.follow(0, 80)
    world.commit({0: (80, 80, 10), 1: (0, 0, 0)})
    whole = world.ask(COUNT)
    early = edited(
        whole.receipt,
        cut={"0": {"HIGH": 60, "MEDIUM": 60, "LOW": 10}},
        lake={"0": dict.fromkeys(("HIGH", "MEDIUM", "LOW"), 0)},
    )
    kept = world.ask(COUNT, cut_request({"exactly": early}))
    world.gaps = (Gap(0, 10, 50, "retention", 1, (Lane.LOW,)),)
    world.next[0] = (80, 80, 50)
    world.commit({0: (80, 80, 60), 1: (0, 0, 0)})
    world.restart()

    with pytest.raises(NotFoundError, match=r"offsets 10 to 49 of partition 0 .* retention took"):
        world.ask_again(whole)
    assert world.ask(COUNT, cut_request({"exactly": early})).rows == kept.rows


def test_a_gap_above_the_cut_changes_nothing(world: CutWorld) -> None:
    world.follow(0, 80)
    answer = world.ask(COUNT)
    world.gaps = (Gap(0, 100, 120, "retention", 1),)
    world.follow(0, 60)
    world.commit({0: (140,) * 3, 1: (0, 0, 0)})
    world.restart()

    assert world.ask_again(answer).rows == answer.rows


def test_rows_that_another_writer_removed_are_noticed(world: CutWorld) -> None:
    world.follow(0, 80)
    world.commit({0: (80,) * 3, 1: (0, 0, 0)})
    answer = world.ask(COUNT)
    world.rewrite(lambda rows: rows.filter(pc.greater(rows[OFFSET], 9)))

    with pytest.raises(NotFoundError, match="another writer committed since the receipt, removed"):
        world.ask_again(answer)
    assert world.ask_again(world.ask(COUNT)).rows == world.ask(COUNT).rows


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"topic_id": "topic-2"}, "another topic of table 'trades'"),
        ({"table_id": "another"}, "another table 'trades', which was dropped"),
        ({"rules": "others"}, "rules of table 'trades' for lanes and duplicates have changed"),
        ({"others": None}, "too many rows of other writers"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    change: dict[str, Any], words: str, world: CutWorld
) -> None:
    world.follow(0, 10)
    receipt = edited(world.ask(COUNT).receipt, **change)

    with pytest.raises(NotFoundError, match=words):
        world.ask(COUNT, cut_request({"exactly": receipt}))


def test_a_table_that_the_receipt_does_not_name_is_refused(world: CutWorld) -> None:
    nothing = world.ask("SELECT 1 AS one")

    assert world.ask_again(nothing).rows == [{"one": 1}]
    with pytest.raises(RequestError, match="the receipt says nothing of table 'trades'"):
        world.ask(COUNT, cut_request({"exactly": nothing.receipt}))


def test_a_cut_beyond_what_was_read_is_waited_for_and_then_refused(world: CutWorld) -> None:
    world.follow(0, 50)
    receipt = world.ask(COUNT).receipt
    world.roll_back(1)
    world.hi = dict.fromkeys(PARTITIONS, 0)
    world.joint.publisher.on_broken("the tail begins anew")

    with pytest.raises(HighwaterError, match=r"not reached within 0.05 s: .* begins anew"):
        world.ask(COUNT, cut_request({"exactly": receipt, "wait_s": "0.05"}))
    far = edited(
        receipt,
        cut={"0": dict.fromkeys(("HIGH", "MEDIUM", "LOW"), 60)},
        lake={"0": dict.fromkeys(("HIGH", "MEDIUM", "LOW"), 0)},
    )
    world.restart()
    world.follow(0, 50)
    with pytest.raises(UnavailableError, match="stands at offset 50, asked for is 60"):
        world.ask(COUNT, cut_request({"exactly": far, "policy": "fail"}))


def test_system_tables_of_the_sessions_schema_are_waited_for_as_well(world: CutWorld) -> None:
    world.follow(0, 50)
    request = cut_request({"at_least": '{"trades": {"0": 60}}', "policy": "fail"})
    options, _ = DEFAULTS.changed({"schema": "system"})
    engine = world.joint.engine

    assert engine.pin(request, "SELECT * FROM cut").asked is not None
    with pytest.raises(UnavailableError):
        engine.pin(request, "SELECT * FROM cut", Asker(options=options))


def test_the_receipt_says_what_was_asked_for_and_which_snapshot_was_read(world: CutWorld) -> None:
    world.follow(0, 50)
    answer = world.ask(COUNT)
    world.commit({0: (50,) * 3, 1: (0, 0, 0)})
    world.follow(0, 20)
    again = world.ask_again(answer)
    parsed = json.loads(again.receipt)

    assert parsed["asked"] == {"form": "exactly", "reached": True, "reason": ""}
    assert again.table["snapshot_id"] == str(world.history[-1].rows_id)
    assert again.table["snapshot_id"] != answer.table["snapshot_id"]
    assert (again.table["state"], again.table["reason"]) == (
        "lagging",
        "an earlier cut was asked for",
    )
    assert json.loads(answer.receipt)["asked"] is None
    assert world.ask_again(again).rows == answer.rows


def test_dictionary_and_view_types_are_those_of_any_answer(world: CutWorld) -> None:
    world.follow(0, 50)
    world.commit({0: (20,) * 3, 1: (0, 0, 0)})
    engine, sql = world.joint.engine, "SELECT * FROM trades"
    plain = engine.plan(sql)
    request = cut_request({"exactly": plain.receipt})
    again = engine.plan(sql, asker=Asker(pin=engine.pin(request)))

    assert again.schema == plain.schema
    tables = [
        pa.Table.from_batches(p.stream(), schema=p.schema).sort_by("message_id")
        for p in (plain, again)
    ]
    assert tables[0] == tables[1]
