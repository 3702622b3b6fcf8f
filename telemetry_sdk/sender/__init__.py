"""Bytes to a sink: what is written, where to, and the last look before it leaves."""
