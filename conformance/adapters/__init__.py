"""Adapters: other libraries' coordinators, put under test as they are.

An adapter is a factory as ``implementations`` describes it. It gives another library's
coordinators the names, results and errors of this project's contract, and nothing else:
what such a coordinator does wrong must come out of the adapter as wrong as it went in.
"""
