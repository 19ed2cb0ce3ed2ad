"""Reading replies: several variants' side by side, unnamed, and what the reader says of each."""
