"""The durable queue: records wait here until the sink has them."""
