"""Kafka: topics that are read by partition, and acknowledged by committed offsets."""
