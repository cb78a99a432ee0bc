"""What a user types: the commands, their options, and the files that set them."""
