"""Lists what a pass would draw, and checks its preconditions."""
