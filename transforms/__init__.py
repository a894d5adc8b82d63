"""What is done to the data: rules without Beam, and beside each a thin PTransform."""
