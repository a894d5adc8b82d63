"""The sink: unique events, dead letters and warnings as rows in ClickHouse."""

from transforms.sink.store_unique import StoreUnique

__all__ = ["StoreUnique"]
