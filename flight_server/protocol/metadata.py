"""Metadata commands -> tables. One entry in `METADATA` a command; the data is made per request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flight_server.protocol import commands, like, schemas, sql_info, xdbc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flight_server.ports import TableInfo

TABLE_TYPES = ("SYSTEM TABLE", "TABLE", "VIEW")
_FIELD_KEY = b"ARROW:FLIGHT:SQL:"


@dataclass(frozen=True)
class Facts:
    """What the answers are made of."""

    tables: Callable[[], Sequence[TableInfo]]
    sql_info: sql_info.Facts


@dataclass(frozen=True)
class MetadataAnswer:
    """How one command is answered: its schema, and its rows as one table of that schema."""

    schema: Callable[[Any], pa.Schema]
    table: Callable[[Any, Facts], pa.Table]


def _catalogs(_: commands.GetCatalogs, facts: Facts) -> pa.Table:
    rows = sorted({table.catalog for table in facts.tables()})
    return pa.table([rows], schema=schemas.CATALOGS)


def _db_schemas(command: commands.GetDbSchemas, facts: Facts) -> pa.Table:
    pairs = {
        (table.catalog, table.schema)
        for table in facts.tables()
        if command.catalog in (None, table.catalog)
    }
    names = like.narrow(command.db_schema_filter_pattern, {schema for _, schema in pairs})
    return _table(sorted(pair for pair in pairs if pair[1] in names), schemas.DB_SCHEMAS)


def _tables_schema(command: commands.GetTables) -> pa.Schema:
    return schemas.TABLES_WITH_SCHEMA if command.include_schema else schemas.TABLES


def _tables(command: commands.GetTables, facts: Facts) -> pa.Table:
    kinds = {_kind(kind) for kind in command.table_types}
    tables = [
        table
        for table in facts.tables()
        if command.catalog in (None, table.catalog) and (not kinds or _kind(table.kind) in kinds)
    ]
    in_schemas = like.narrow(command.db_schema_filter_pattern, {table.schema for table in tables})
    tables = [table for table in tables if table.schema in in_schemas]
    names = like.narrow(command.table_name_filter_pattern, {table.name for table in tables})
    rows = sorted(
        (table.catalog, table.schema, table.name, table.kind, _table_schema(table))
        for table in tables
        if table.name in names
    )
    wanted = _tables_schema(command)
    return _table([row[: len(wanted)] for row in rows], wanted)


def _kind(kind: str) -> str:
    upper = kind.upper()
    return "TABLE" if upper == "BASE TABLE" else upper


def _table_schema(table: TableInfo) -> bytes:
    """The IPC bytes of the schema that a SELECT streams, with the names drivers look for."""
    described = [field.with_metadata(_describe(table, field)) for field in table.arrow_schema]
    return bytes(pa.schema(described).serialize())


def _describe(table: TableInfo, field: pa.Field) -> dict[bytes, str]:
    facts = {
        b"CATALOG_NAME": table.catalog,
        b"DB_SCHEMA_NAME": table.schema,
        b"TABLE_NAME": table.name,
        b"TYPE_NAME": xdbc.name_of(field.type),
        b"IS_AUTO_INCREMENT": "0",
        b"IS_CASE_SENSITIVE": "1" if pa.types.is_string(field.type) else "0",
        b"IS_READ_ONLY": "1",
        b"IS_SEARCHABLE": "1",
    }
    if pa.types.is_decimal(field.type):
        facts[b"PRECISION"] = str(field.type.precision)
        facts[b"SCALE"] = str(field.type.scale)
    return {_FIELD_KEY + key: value for key, value in facts.items()}


def _table(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    columns = [[row[index] for row in rows] for index in range(len(schema))]
    return pa.table(columns, schema=schema)


def _fixed(schema: pa.Schema, table: Callable[[Any, Facts], pa.Table]) -> MetadataAnswer:
    return MetadataAnswer(lambda _: schema, table)


def _empty(schema: pa.Schema) -> MetadataAnswer:
    """No table here has keys; drivers ask for them on every table and need the exact schema."""
    return _fixed(schema, lambda _, __: schema.empty_table())


METADATA: Mapping[type[Any], MetadataAnswer] = {
    commands.GetCatalogs: _fixed(schemas.CATALOGS, _catalogs),
    commands.GetDbSchemas: _fixed(schemas.DB_SCHEMAS, _db_schemas),
    commands.GetTables: MetadataAnswer(_tables_schema, _tables),
    commands.GetTableTypes: _fixed(
        schemas.TABLE_TYPES, lambda _, __: pa.table([TABLE_TYPES], schema=schemas.TABLE_TYPES)
    ),
    commands.GetPrimaryKeys: _empty(schemas.PRIMARY_KEYS),
    commands.GetExportedKeys: _empty(schemas.FOREIGN_KEYS),
    commands.GetImportedKeys: _empty(schemas.FOREIGN_KEYS),
    commands.GetCrossReference: _empty(schemas.FOREIGN_KEYS),
    commands.GetSqlInfo: _fixed(
        schemas.SQL_INFO, lambda command, facts: sql_info.table(facts.sql_info, command.info)
    ),
    commands.GetXdbcTypeInfo: _fixed(
        schemas.XDBC_TYPES, lambda command, _: xdbc.table(command.data_type)
    ),
}
