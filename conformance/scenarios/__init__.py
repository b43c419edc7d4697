"""The scenarios: property-based tests of every claim and of what every driver owes.

One module for each characteristic or behaviour. A scenario is a plain function that gets
a ``trial``; its marker says what it is about, its docstring's first line what must hold.
They run under pytest with ``--backend``; see the plugin.
"""
