"""What clients do and how it is recorded: plans, the clients that run them, the runner.

A plan is drawn first, whole, by ``strategies``; ``runner`` then has a ``crew`` of worker
processes carry it out and returns the history. Nothing here knows what is right.
"""
