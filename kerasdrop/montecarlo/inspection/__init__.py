"""What a pass would draw, and what must hold before one."""
