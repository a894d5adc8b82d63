"""Reading files: JSON lines, plain or compressed, Avro and Parquet, on any of Beam's filesystems."""

from transforms.io.files.plan import StoredFile, detect_format, match, split
from transforms.io.files.read import read_range
from transforms.io.files.transform import OpensReceipts, ReadFiles

__all__ = ["OpensReceipts", "ReadFiles", "StoredFile", "detect_format", "match", "read_range", "split"]
