"""Stand-ins: servers of other projects' protocols, small enough to live inside a process."""
