"""Whole experiments. Attacks on records, shared LoRA weights and training each have a room; above
them stands what needs several."""
