"""What each kind of output is: an object for each, in a file by family."""
