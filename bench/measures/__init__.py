"""What an explanation is worth, one file a measure."""
