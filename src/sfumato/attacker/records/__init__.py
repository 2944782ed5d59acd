"""Attacks on what owners send: one file each."""
