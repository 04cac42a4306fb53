"""What the package costs and reaches, measured beside others."""
