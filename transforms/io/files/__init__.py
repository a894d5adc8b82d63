"""Reading files: JSON lines, plain or compressed, Avro and Parquet, on any of Beam's filesystems."""

from transforms.io.files.identity import StoredFile
from transforms.io.files.ledger import FileLedger
from transforms.io.files.plan import KnowsFiles, match
from transforms.io.files.read import read_range
from transforms.io.files.transform import OpensReceipts, ReadFiles

__all__ = ["FileLedger", "KnowsFiles", "OpensReceipts", "ReadFiles", "StoredFile", "match", "read_range"]
