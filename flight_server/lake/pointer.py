"""Where a catalog says that a table's current metadata is: polled often, so as cheap as it gets."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import (
    AuthorizationExpiredError,
    ForbiddenError,
    NoSuchNamespaceError,
    NoSuchTableError,
    RESTError,
    UnauthorizedError,
)
from pyiceberg.io import load_file_io
from pyiceberg.serializers import FromInputFile
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from contract.errors import HighwaterError, OperatorError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.catalog import Catalog
    from pyiceberg.io import FileIO
    from pyiceberg.table.metadata import TableMetadata

_NOT_ALLOWED = (UnauthorizedError, ForbiddenError, AuthorizationExpiredError)


class TableMissingError(UnavailableError):
    """The catalog has no such table (any more), or no sidecar has taken it over yet."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Metadata of one table at one moment, and how its other files are read."""

    location: str
    metadata: TableMetadata
    io: FileIO


class Pointer(Protocol):
    """The pointer to a table's current metadata."""

    def poll(self, known_location: str | None) -> Loaded | None:
        """The current state, or None if it still is the one at `known_location`.

        Raises:
            TableMissingError: there is no such table.
            UnavailableError: catalog or storage did not answer; try again.
            OperatorError: they refuse access, or what they returned is not a table.
        """
        ...


def pointer_to(catalog: Catalog, identifier: str) -> Pointer:
    """The cheapest pointer that this kind of catalog allows."""
    if isinstance(catalog, SqlCatalog):
        return _SqlPointer(catalog, identifier)
    return _CatalogPointer(catalog, identifier)


class _SqlPointer:
    """One indexed row of the catalog's database, read without PyIceberg's table objects."""

    def __init__(self, catalog: SqlCatalog, identifier: str) -> None:
        namespace = catalog.namespace_to_string(catalog.namespace_from(identifier))
        self._engine = catalog.engine
        self._identifier = identifier
        self._properties = dict(catalog.properties)
        self._query = select(IcebergTables.metadata_location).where(
            IcebergTables.catalog_name == catalog.name,
            IcebergTables.table_namespace == namespace,
            IcebergTables.table_name == catalog.table_name_from(identifier),
        )

    def poll(self, known_location: str | None) -> Loaded | None:
        with translated_errors(self._identifier):
            with self._engine.connect() as connection:
                location = connection.execute(self._query).scalar_one_or_none()
            if location is None:
                raise NoSuchTableError(self._identifier)
            if location == known_location:
                return None
            io = load_file_io(self._properties, location)
            metadata = FromInputFile.table_metadata(io.new_input(location))
            properties = {**self._properties, **metadata.properties}
            return Loaded(location, metadata, load_file_io(properties, location))


class _CatalogPointer:
    """Any other catalog: the table is loaded, which is one request."""

    def __init__(self, catalog: Catalog, identifier: str) -> None:
        self._catalog = catalog
        self._identifier = identifier

    def poll(self, known_location: str | None) -> Loaded | None:
        with translated_errors(self._identifier):
            table = self._catalog.load_table(self._identifier)
            if table.metadata_location == known_location:
                return None
            return Loaded(table.metadata_location, table.metadata, table.io)


@contextmanager
def translated_errors(identifier: str) -> Iterator[None]:
    """Turn what catalogs and storage raise into errors with a remedy."""
    try:
        yield
    except HighwaterError:
        raise
    except (NoSuchTableError, NoSuchNamespaceError) as error:
        raise TableMissingError(
            f"the catalog has no table {identifier!r} yet: start the ingest, which creates it"
        ) from error
    except _NOT_ALLOWED as error:
        raise OperatorError(
            f"the catalog refuses access to table {identifier!r}: check its credentials"
        ) from error
    except (SQLAlchemyError, RESTError, OSError) as error:
        raise UnavailableError(
            f"catalog or storage of table {identifier!r} did not answer: try again"
        ) from error
    except Exception as error:
        raise OperatorError(
            f"the metadata of table {identifier!r} cannot be read ({type(error).__name__}): "
            "restore its current metadata file or point the catalog to an older one"
        ) from error
