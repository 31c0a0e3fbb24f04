"""Pruning never changes an answer, and leaves few files where bounds allow it."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datafusion import SessionConfig, SessionContext
from hypothesis import event, given, settings
from hypothesis import strategies as st

from contract.errors import BugError
from flight_server.lake.paths import url_of
from flight_server.lake.prune import covers, filters_by_scan, needed, prune
from flight_server.lake.scan import LakeScan, with_scan_settings
from flight_server.lake.snapshot import DataFiles
from flight_server.lake.table import LakeTable
from tests.support.lake_tables import EPOCH, append, create_table, lake_catalog, wide_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from datafusion import DataFrame

    from flight_server.lake.prune import Filters

FILES = 12


class Lake:
    """A session with the table `t` of several files, readable with and without pruning."""

    def __init__(self, files: DataFiles, schema: pa.Schema, scratch_dir: Path) -> None:
        self.ctx = SessionContext(with_scan_settings(SessionConfig().with_target_partitions(2)))
        self.files = files
        self.scan = LakeScan(self.ctx, schema, scratch_dir)

    def plan(self, sql: str, files: DataFiles | None) -> DataFrame:
        """`sql` over these files of `t`, None = the first phase."""
        frame = self.scan.probe("t#1") if files is None else self.scan.frame("t#1", files)
        self.ctx.deregister_table("t")
        self.ctx.register_table("t", frame.into_view(temporary=False))
        return self.ctx.sql(sql)

    def pruned(self, sql: str) -> DataFiles:
        filters = filters_by_scan(self.plan(sql, None).optimized_logical_plan())
        return prune(self.files, filters.get("t#1"))

    def ids(self, sql: str, files: DataFiles) -> list[object]:
        return sorted(self.plan(sql, files).to_arrow_table()["id"].to_pylist())


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    folder = tmp_path_factory.mktemp("lake")
    rng = random.Random(7)
    with lake_catalog(folder) as catalog:
        table = create_table(catalog)
        for i in range(FILES):
            rows = wide_rows(rng, i * 40, 40)
            if i == 3:
                rows = rows.slice(0, 1)
            if i == 4:
                nothing = pa.nulls(len(rows), rows["price"].type)
                rows = rows.set_column(2, rows.schema.field("price"), nothing)
            append(table, rows)
        snapshot = LakeTable(catalog, "public.trades").refresh()
        yield Lake(snapshot.files, snapshot.arrow_schema, folder / "scratch")


NUMBERS = st.integers(-60, 1_060)
OPERATORS = st.sampled_from(["=", "<", "<=", ">", ">=", "<>"])


def _symbol(number: int) -> str:
    return f"'SYM-{number:05d}'" if number % 2 else f"'SYM-{number:05d}-with-a-long-tail-1'"


LITERALS: dict[str, Callable[[int], str]] = {
    "id": lambda n: str(n % 500),
    "small": str,
    "price": lambda n: f"{n / 8}",
    "symbol": _symbol,
    "at": lambda n: f"'{(EPOCH + dt.timedelta(minutes=n)).isoformat()}'",
    "local_at": lambda n: f"'{(EPOCH + dt.timedelta(minutes=n)).replace(tzinfo=None)}'",
    "day": lambda n: f"'{(EPOCH + dt.timedelta(days=n)).date()}'",
    "ratio": lambda n: "'NaN'" if n % 50 == 0 else "0.0" if n % 25 == 0 else f"{n / 4}",
}


@st.composite
def atoms(draw: st.DrawFn) -> str:
    column = draw(st.sampled_from(sorted(LITERALS)))
    literal = LITERALS[column]
    shape = draw(
        st.sampled_from(["compare", "compare", "mirrored", "between", "in", "null", "odd", "list"])
    )
    negation = draw(st.sampled_from(["", "NOT "]))
    if shape == "compare":
        return f"{column} {draw(OPERATORS)} {literal(draw(NUMBERS))}"
    if shape == "mirrored":
        return f"{literal(draw(NUMBERS))} {draw(OPERATORS)} {column}"
    if shape == "between":
        first = draw(NUMBERS)
        last = first + draw(st.integers(-5, 80))
        return f"{column} {negation}BETWEEN {literal(first)} AND {literal(last)}"
    if shape in {"in", "list"}:
        size = st.lists(NUMBERS, min_size=1, max_size=100 if shape == "list" else 6)
        return f"{column} {negation}IN ({', '.join(literal(n) for n in draw(size))})"
    if shape == "null":
        return f"{column} IS {negation}NULL"
    return draw(
        st.sampled_from(
            [
                "flag",
                "NOT flag",
                "flag IS NULL",
                "tags IS NULL",
                f"id + 1 = {literal(draw(NUMBERS)) if column == 'id' else 100}",
                "upper(symbol) > 'SYM-00500'",
                "symbol LIKE 'SYM-003%'",
                f"coalesce(small, 0) < {draw(NUMBERS)}",
                f"(small IS NOT DISTINCT FROM {draw(NUMBERS)})",
                f"small > {draw(NUMBERS)}.5",
                f"price > {draw(NUMBERS)}.0000000001",
                f"CAST(at AS DATE) = {LITERALS['day'](0)}",
                "small = NULL",
                "ratio IS NOT NULL",
                "small > id",
                "extra['k'] = 'v300'",
                "small IN (1, NULL)",
            ]
        )
    )


PREDICATES = st.recursive(
    atoms(),
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=5,
)


@settings(max_examples=600)
@given(predicate=PREDICATES)
def test_pruned_and_unpruned_answers_are_equal(lake: Lake, predicate: str) -> None:
    sql = f"SELECT id FROM t WHERE {predicate}"

    files = lake.pruned(sql)

    event(f"{len(files)} of {FILES} files left")
    assert lake.ids(sql, files) == lake.ids(sql, lake.files)


@settings(max_examples=60)
@given(one=PREDICATES, other=PREDICATES)
@pytest.mark.parametrize(
    "shape",
    [
        "SELECT a.id FROM t a JOIN t b ON a.id = b.id WHERE a.{one} AND b.{other}",
        "SELECT id FROM t WHERE {one} UNION ALL SELECT id FROM t WHERE {other}",
        "SELECT id FROM t WHERE {one} AND id IN (SELECT id FROM t WHERE {other})",
        "SELECT id FROM t WHERE small <= (SELECT max(small) FROM t WHERE {other}) AND {one}",
        "SELECT id, (SELECT count(*) FROM t WHERE {other}) FROM t WHERE {one}",
        "SELECT id FROM t WHERE {one} AND NOT EXISTS"
        " (SELECT 1 FROM t u WHERE u.small = t.small AND u.{other})",
    ],
)
def test_statements_with_several_scans_are_answered_alike(
    lake: Lake, shape: str, one: str, other: str
) -> None:
    if "a.{one}" in shape or "u.{other}" in shape:
        one, other = "small > 300", "price < 60"
    sql = shape.format(one=one, other=other)

    assert lake.ids(sql, lake.pruned(sql)) == lake.ids(sql, lake.files)


def filters_of(lake: Lake, sql: str) -> Filters | None:
    return filters_by_scan(lake.plan(sql, None).optimized_logical_plan())["t#1"]


def test_each_scan_of_a_name_has_an_entry(lake: Lake) -> None:
    filters = filters_of(lake, "SELECT * FROM t a JOIN t b USING (id) WHERE a.small > 1")

    assert isinstance(filters, list)
    assert len(filters) == 2


def test_the_scans_of_a_recursive_query_are_seen(lake: Lake) -> None:
    sql = (
        "WITH RECURSIVE r AS (SELECT id FROM t WHERE id = 1 UNION ALL "
        "SELECT t.id FROM r JOIN t ON t.id = r.id + 1 WHERE t.id < 50) SELECT id FROM r"
    )

    filters = filters_of(lake, sql)

    assert filters is not None
    assert len(filters) == 2
    assert lake.ids(sql, lake.pruned(sql)) == list(range(1, 50))


def test_a_text_that_looks_like_a_scan_only_stops_pruning(lake: Lake) -> None:
    sql = "SELECT id FROM t WHERE symbol <> 'x\n  TableScan: t#1 ' AND id = 3"

    assert filters_of(lake, sql) is None
    assert lake.ids(sql, lake.pruned(sql)) == [3]


def test_hidden_scans_of_a_subquery_stop_pruning(lake: Lake) -> None:
    hiding = SessionContext(
        SessionConfig().set(
            "datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery", "true"
        )
    )
    hiding.register_table("t", lake.scan.probe("t#1").into_view())

    plan = hiding.sql("SELECT id FROM t WHERE small > (SELECT min(small) FROM t WHERE id = 1)")

    assert filters_by_scan(plan.optimized_logical_plan())["t#1"] is None


@pytest.mark.parametrize(
    "predicate",
    [
        " OR ".join(f"(id = {i} AND small > {i})" for i in range(400)),
        " AND ".join(f"small <> {i}" for i in range(400)),
        f"id IN ({', '.join(str(i) for i in range(100, 500))})",
    ],
)
def test_very_long_predicates_are_bounded_and_right(lake: Lake, predicate: str) -> None:
    sql = f"SELECT id FROM t WHERE {predicate}"

    assert lake.ids(sql, lake.pruned(sql)) == lake.ids(sql, lake.files)


def test_unbound_parameters_keep_all_files(lake: Lake) -> None:
    plan = lake.plan("SELECT id FROM t WHERE id = $1", None)

    filters = filters_by_scan(plan.optimized_logical_plan())["t#1"]

    assert len(prune(lake.files, filters)) == FILES


def test_no_files_may_be_left(lake: Lake) -> None:
    sql = "SELECT id FROM t WHERE id > 1000000"

    files = lake.pruned(sql)

    assert len(files) == 0
    assert lake.ids(sql, files) == []


def test_nulls_alone_meet_no_comparison(lake: Lake) -> None:
    with_prices = lake.pruned("SELECT id FROM t WHERE price > -1000000")

    assert len(with_prices) == FILES - 1


def test_unknown_filters_and_no_filters_are_told_apart(lake: Lake) -> None:
    assert prune(lake.files, None) is lake.files
    assert len(prune(lake.files, [[]])) == FILES
    with pytest.raises(BugError):
        needed(lake.files, [])


def test_the_second_plan_is_checked_against_the_files_that_it_got(lake: Lake) -> None:
    """now() moves on between the two plans of a statement."""

    def filters(first_id: int) -> Filters | None:
        return filters_of(lake, f"SELECT id FROM t WHERE id >= {first_id}")

    used = needed(lake.files, filters(300))

    assert covers(lake.files, used, filters(400))
    assert not covers(lake.files, used, filters(200))
    assert not covers(lake.files, used, None)
    assert covers(lake.files, needed(lake.files, None), None)


def test_one_of_many_files_is_left_for_a_short_range(tmp_path: Path) -> None:
    """Most of the 2,000 listed files do not even exist: they are never looked at."""
    schema = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us", tz="UTC"))])
    count = 2_000
    paths = [str(tmp_path / "data" / f"{i:05d}.parquet") for i in range(count)]
    (tmp_path / "data").mkdir()
    for i in (0, 700, 1_999):
        pq.write_table(pa.table({"id": [i], "at": [i * 60_000_000]}, schema=schema), paths[i])
    numbers = pa.array(range(count), pa.int64())
    minutes = pa.array([i * 60_000_000 for i in range(count)], pa.int64()).view(schema[1].type)
    no_nulls = pa.array([0] * count, pa.int64())
    files = DataFiles.of(
        paths,
        [url_of(p) for p in paths],
        [1] * count,
        [1] * count,
        {"id": (numbers, numbers, no_nulls), "at": (minutes, minutes, no_nulls)},
    )
    lake = Lake(files, schema, tmp_path / "scratch")
    sql = "SELECT id FROM t WHERE at BETWEEN '1970-01-01T11:40:00Z' AND '1970-01-01T11:40:30Z'"

    left = lake.pruned(sql)

    assert left.paths.to_pylist() == [paths[700]]
    assert lake.ids(sql, left) == [700]
