"""The sidecar: Kafka to Iceberg."""
