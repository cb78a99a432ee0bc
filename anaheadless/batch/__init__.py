"""Many runs of one program: an item each, on a few displays, with a journal of what came of them."""
