"""What may leave now, and who decided it."""
