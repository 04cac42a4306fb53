"""The formats of files: an object for each, in a file of its own."""
