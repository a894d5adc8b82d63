"""Options for a stream on Flink: what was found to work on a cluster. Whatever is given on the command line goes before them."""

# Each with its reason. They were found on Beam 2.77 and Flink 1.20 (docs/operations.md).
DEFAULTS = {
    "streaming": "",
    "checkpointing_interval": "5000",  # milliseconds; without it Flink never makes one
    "state_backend": "rocksdb",
    "max_parallelism": "128",  # fixed for the life of a job: its state is cut into so many parts
    "max_bundle_size": "10000",  # elements; an element is a batch
    "max_bundle_time_mills": "300",
    "externalized_checkpoints_enabled": "",
    "retain_externalized_checkpoints_on_cancellation": "",
    "max_cache_memory_usage_mb": "400",  # of state in the worker; it needs a worker pool that was started with --container_executable
    "in_flight": "0",  # Flink holds back by itself
}
