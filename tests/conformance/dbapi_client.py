"""Run by `test_dbapi.py` in another environment; prints one JSON object."""

import importlib
import json
import sys

import sqlalchemy
from flightsql import FlightSQLClient, connect  # type: ignore[import-not-found]

importlib.import_module("flightsql.sqlalchemy")  # registers the dialect
HOST, PORT = "127.0.0.1", int(sys.argv[1])
client = FlightSQLClient(host=HOST, port=PORT, insecure=True)
cursor = connect(client).cursor()
answers: dict[str, object] = {}
cursor.execute("select 1 as x")
answers["query"] = [list(row) for row in cursor.fetchall()]
cursor.execute("select count(*) as n from trades where symbol <> ?", ("nobody",))
answers["bound"] = [list(row) for row in cursor.fetchall()]

engine = sqlalchemy.create_engine(f"datafusion+flightsql://{HOST}:{PORT}?insecure=True")
inspector = sqlalchemy.inspect(engine)
answers["schemas"] = inspector.get_schema_names()
answers["tables"] = inspector.get_table_names(schema="public")
answers["has table"] = [inspector.has_table(name, schema="public") for name in ("trades", "none")]
answers["columns"] = [c["name"] for c in inspector.get_columns("trades", schema="public")]
with engine.connect() as connection:
    found = connection.execute(sqlalchemy.text("select count(*) as n from public.trades"))
    answers["rows"] = [list(row) for row in found]
sys.stdout.write(json.dumps(answers))
