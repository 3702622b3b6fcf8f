"""The twelve fields of base telemetry, and the facts that fill them."""
