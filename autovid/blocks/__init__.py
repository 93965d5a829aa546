"""What can stand in a searched network."""
