"""What a file or a folder gives away when it is shared, read off it without a network, a base or a GPU."""
