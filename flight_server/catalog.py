"""The Iceberg catalog of the settings, for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import RESTError
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from contract.errors import UnavailableError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from contract.settings import CommonSettings

_NAME = "highwater"


def open_catalog(settings: CommonSettings) -> Catalog:
    """The catalog. Raises UnavailableError if it does not answer."""
    properties = {
        "type": "sql",
        "uri": settings.catalog_uri,
        "warehouse": settings.warehouse,
        **settings.catalog_properties,
    }
    try:
        try:
            return load_catalog(_NAME, **properties)
        except OperationalError:  # the sidecar was making the catalog's own tables as well
            return load_catalog(_NAME, **properties)
    except (OSError, SQLAlchemyError, RESTError) as error:
        raise UnavailableError(
            f"the catalog cannot be opened ({type(error).__name__}): check --catalog-uri"
        ) from error
