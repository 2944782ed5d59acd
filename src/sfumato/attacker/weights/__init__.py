"""Attacks on shared LoRA weights, one file each."""
