"""A conformance suite and benchmark harness for tooz-style coordination drivers.

The package has five parts, in the order in which data passes through them: the
contract (``coordination``) and its ``drivers``; the ``workload`` that drives them and
records a ``history``; the ``models`` and ``checkers`` that judge a history; the
``scenarios`` and ``benchmarks`` that put these together under pytest; the ``results``
of a run and the ``reporting`` made from them.
"""

__version__ = "0.1.0"
