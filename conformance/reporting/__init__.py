"""Result files to reports: a site, Markdown and text for the terminal.

Everything here is made from result files (``conformance.results``) and the evidence
beside them, and from nothing else: no clock, no environment, no server. The same files
give the same bytes.
"""
