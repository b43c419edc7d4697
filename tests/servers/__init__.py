"""Tests of drivers against their real servers: run with ``--backend=NAME``."""
