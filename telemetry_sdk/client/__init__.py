"""Behind the facade: what the integrator chose, what is open for it, and the way of a call."""
