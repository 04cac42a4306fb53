"""The formats of files: an object for each, in its own module."""
