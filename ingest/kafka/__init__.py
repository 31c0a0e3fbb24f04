"""What the embedded broker needs from its machine: a Java, and Apache Kafka's jars."""
