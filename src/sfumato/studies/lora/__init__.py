"""What a shared LoRA tells of who is in it: the attacker, one's own files (``files``), and the
whole study (``study``)."""
