"""Statistics and verdicts on what the traces show; nothing here knows how they were made."""
