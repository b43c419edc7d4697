"""The reference drivers: one module per driver, found by URL scheme through entry points.

``file`` and ``ipc`` stand on ``local``, ``session``, ``registry`` and ``medium``, which
hold what the drivers of one host share. A driver knows the contract and nothing else of
this package.
"""
