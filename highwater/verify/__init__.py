"""`highwater verify`: is every offset below the marker where the product promises it to be?

The pure core (`findings`, `facts`, `chain`, `inventory`, `claims`, `rule`, `strips`, `content`,
`compare`) takes values and gives findings; `iceberg` and `topic` are the only modules that touch
the tables and the broker, and they use no code of the sidecar or the server.
"""
