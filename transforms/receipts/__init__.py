"""Receipts: what was read at once is acknowledged when all that it became is durable."""

from transforms.receipts.acknowledge import AcknowledgeReceipts
from transforms.receipts.ledger import Ledger
from transforms.receipts.open import OpenReceipts

__all__ = ["AcknowledgeReceipts", "Ledger", "OpenReceipts"]
