"""Streams: splits that are read without end, and acknowledged receipt by receipt."""

from transforms.io.streams.fetcher import Limits
from transforms.io.streams.open import is_stream, splits_of
from transforms.io.streams.source import ReadStream, Split, close_fetchers, fetchers

__all__ = ["Limits", "ReadStream", "Split", "close_fetchers", "fetchers", "is_stream", "splits_of"]
