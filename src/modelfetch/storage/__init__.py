"""Files: the only package that touches them. Synchronous; the shell runs it off the loop."""
