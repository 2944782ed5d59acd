"""What a way to train together is worth: every arm of a comparison, its wire, memory and time."""
