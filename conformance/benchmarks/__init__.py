"""What is measured: how fast, how fair. Nothing here fails because something is slow.

The test modules say what is measured; the others how: ``timing`` calls beside each other,
``sides`` whose, ``floors`` the least there can be, ``contention`` clients that want the
same lock, ``distribution`` what is made of the samples, ``efforts`` how much of it all.
"""
