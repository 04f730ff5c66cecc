"""What an answer says of the tensors behind it, derived from what a network does: one rule for each operation."""
