"""Faults that are put between a driver and its server."""
