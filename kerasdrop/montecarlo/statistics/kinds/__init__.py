"""An object for each kind of output, in one file for each family."""
