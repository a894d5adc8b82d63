"""What the data is: messages, events, rejections, limits, receipts, outcomes, tables and errors. No Beam."""
