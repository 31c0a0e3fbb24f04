"""Whether the table's schema can be scanned by column name, and as which Arrow types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import FixedType, PrimitiveType, UUIDType

from contract.errors import UnsupportedError
from flight_server.lake.bounds import bounds_type
from flight_server.lake.manifests import BoundedColumn, FileColumns
from flight_server.lake.types import scan_schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from pyiceberg.schema import Schema
    from pyiceberg.table.metadata import TableMetadata

FORMAT_VERSION_MAX = 2


def arrow_schema_of(metadata: TableMetadata) -> pa.Schema:
    """What a scan with the table's current schema yields."""
    return scan_schema(schema_to_pyarrow(metadata.schema(), include_field_ids=False))


def check_readable(metadata: TableMetadata) -> None:
    """Accept only tables that a scan by name with the current schema reads exactly.

    Raises:
        UnsupportedError: it would not; the text says why.
    """
    if metadata.format_version > FORMAT_VERSION_MAX:
        raise UnsupportedError(
            f"it has Iceberg format version {metadata.format_version}; "
            f"up to {FORMAT_VERSION_MAX} is supported"
        )
    current = metadata.schema()
    _check_types(current)
    for older in metadata.schemas:
        if older.schema_id != current.schema_id:
            _check_names(current, older)
            _check_nested(current, older)


def file_columns(metadata: TableMetadata) -> FileColumns:
    """What manifests of this table are decoded for."""
    arrow = arrow_schema_of(metadata)
    kinds = {f.name: bounds_type(f.type) for f in arrow}
    bounded = [
        BoundedColumn(f.field_id, f.name, kind)
        for f in metadata.schema().fields
        if (kind := kinds[f.name]) is not None
    ]
    identity = {
        spec.spec_id: frozenset(
            f.source_id for f in spec.fields if isinstance(f.transform, IdentityTransform)
        )
        for spec in metadata.partition_specs
    }
    return FileColumns(metadata.current_schema_id, tuple(bounded), identity)


def _check_types(schema: Schema) -> None:
    for name in schema.column_names:
        if isinstance(schema.find_type(name), (FixedType, UUIDType)):
            raise UnsupportedError(f"its column {name!r} has a type that is not supported")


def _names(schema: Schema) -> dict[int, str]:
    names = ((i, schema.find_column_name(i)) for i in schema.field_ids)
    return {i: name for i, name in names if name is not None}


def _check_names(current: Schema, older: Schema) -> None:
    now, then = _names(current), _names(older)
    for field_id, name in now.items():
        if then.get(field_id, name) != name:
            raise UnsupportedError(
                f"its column {name!r} was once called {then[field_id]!r}, so older files cannot "
                "be read by name: rewrite the table into a new one"
            )
    ids_then = {name: field_id for field_id, name in then.items()}
    for field_id, name in now.items():
        if ids_then.get(name, field_id) != field_id:
            raise UnsupportedError(
                f"its column name {name!r} once belonged to another column, so older files cannot "
                "be read by name: rewrite the table into a new one"
            )


def _check_nested(current: Schema, older: Schema) -> None:
    then = {f.field_id: f.field_type for f in older.fields}
    for field in current.fields:
        if isinstance(field.field_type, PrimitiveType):
            continue
        if then.get(field.field_id, field.field_type) != field.field_type:
            raise UnsupportedError(f"the type inside its column {field.name!r} was changed")


def has_columns(metadata: TableMetadata, names: Sequence[str]) -> bool:
    """Whether the current schema has all these columns at the top."""
    return {f.name for f in metadata.schema().fields}.issuperset(names)
