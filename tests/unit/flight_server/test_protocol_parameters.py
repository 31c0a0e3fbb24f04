from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from contract.errors import LimitError, RequestError
from flight_server.protocol import parameters

if TYPE_CHECKING:
    from collections.abc import Iterable

_TWO = pa.schema([("$1", pa.int64()), ("$2", pa.string())])


def bind(wanted: pa.Schema, batches: Iterable[pa.RecordBatch]) -> tuple[dict[str, pa.Scalar], ...]:
    return parameters.bind(wanted, batches, rows_max=3, bytes_max=1000)


def test_names_win_over_positions_when_all_match() -> None:
    row = pa.record_batch({"$2": ["x"], "$1": [1]})

    assert bind(_TWO, [row]) == ({"$1": pa.scalar(1), "$2": pa.scalar("x")},)


def test_other_names_are_bound_by_position() -> None:
    row = pa.record_batch({"0": [1], "1": ["x"]})

    assert bind(_TWO, [row]) == ({"$1": pa.scalar(1), "$2": pa.scalar("x")},)


def test_untyped_null_gets_the_type_of_its_parameter() -> None:
    row = pa.record_batch({"0": pa.array([None], pa.null()), "1": ["x"]})
    (bound,) = bind(_TWO, [row])

    assert bound["$1"].type == pa.int64()
    assert not bound["$1"].is_valid


def test_null_in_a_union_gets_the_type_of_its_parameter() -> None:
    union = pa.UnionArray.from_dense(
        pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([None], pa.null())]
    )
    (bound,) = bind(pa.schema([("$1", pa.date32())]), [pa.record_batch([union], ["p"])])

    assert bound["$1"].type == pa.date32()


def test_extension_values_are_bound_as_their_storage() -> None:
    values = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16)))
    (bound,) = bind(pa.schema([("$1", pa.binary())]), [pa.record_batch([values], ["p"])])

    assert bound["$1"].type == pa.binary(16)


def test_no_rows_bind_nothing() -> None:
    assert bind(_TWO, []) == ()
    assert bind(_TWO, [pa.record_batch({"0": pa.array([], pa.int64())})]) == ()


def test_rows_of_all_batches_are_bound_in_order() -> None:
    bound = bind(
        _TWO,
        [
            pa.record_batch({"0": [1, 2], "1": ["x", "y"]}),
            pa.record_batch({"0": pa.array([], pa.int64())}),
            pa.record_batch({"0": [3], "1": ["z"]}),
        ],
    )

    assert [row["$1"].as_py() for row in bound] == [1, 2, 3]
    assert [row["$2"].as_py() for row in bound] == ["x", "y", "z"]


def test_too_many_rows_are_refused_after_the_last_one() -> None:
    row = pa.record_batch({"0": [1], "1": ["x"]})
    upload = iter([row] * 5)

    with pytest.raises(LimitError, match="5 parameter rows are bound; the most is 3"):
        bind(_TWO, upload)
    assert next(upload, None) is None


def test_wrong_number_of_columns_is_refused() -> None:
    with pytest.raises(RequestError, match="2 parameters and 1 are bound"):
        bind(_TWO, [pa.record_batch({"0": [1]})])


def test_huge_values_are_refused() -> None:
    with pytest.raises(LimitError):
        bind(_TWO, [pa.record_batch({"0": [1], "1": ["x" * 2000]})])
