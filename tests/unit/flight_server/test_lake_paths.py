"""Paths of data files: literal in manifests, encoded for the engine, refused when ambiguous."""

from __future__ import annotations

import pytest

from contract.errors import UnsupportedError
from flight_server.lake.paths import local_path, url_of


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/lake/a.parquet", "file:///lake/a.parquet"),
        ("file:///lake/a.parquet", "file:///lake/a.parquet"),
        ("file:/lake/a.parquet", "file:///lake/a.parquet"),
        ("/lake/sym=BTC%2FUSD/a b+c.parquet", "file:///lake/sym%3DBTC%252FUSD/a%20b%2Bc.parquet"),
        ("/lake/ü?#.parquet", "file:///lake/%C3%BC%3F%23.parquet"),
        ("s3://bucket/k%41y.parquet", "s3://bucket/k%2541y.parquet"),
    ],
)
def test_a_literal_path_is_encoded_once_more(path: str, url: str) -> None:
    assert url_of(path) == url


@pytest.mark.parametrize(
    "path",
    [
        "lake/a.parquet",
        "/lake//a.parquet",
        "/lake/./a.parquet",
        "/lake/../a.parquet",
        "/lake/folder/",
        "/lake/tab\t.parquet",
        "/lake/upload#12",
        "file://host/lake/a.parquet",
        "s3://bucket",
        "s3:///key",
        "s3://bucket//key",
        "",
    ],
)
def test_a_path_that_the_engine_would_read_differently_is_refused(path: str) -> None:
    with pytest.raises(UnsupportedError):
        url_of(path)


def test_only_files_of_this_machine_have_a_local_path() -> None:
    assert local_path("file:///a b") == "/a b"
    assert local_path("/a%20b") == "/a%20b"

    assert local_path("s3://bucket/a") is None
    assert local_path("file://host/a") is None
