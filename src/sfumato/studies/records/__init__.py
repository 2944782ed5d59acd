"""What an attacker gets from records: an owner's own (``audit``), or every scheme's on drawn people
(``matrix``)."""
