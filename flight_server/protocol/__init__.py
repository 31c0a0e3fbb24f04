"""The Flight SQL interface as values: messages, schemas, metadata answers, error statuses."""
