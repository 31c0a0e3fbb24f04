"""What the sidecar and the server agree on: no client library of Kafka, Iceberg or the engine."""
