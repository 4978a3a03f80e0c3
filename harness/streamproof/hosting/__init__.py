"""Functions of anybody's system behind the local gateway, described in a file: docs/hosting.md.

The file's tables become a `streamproof.gateway.Description`, which is the same in Python.
"""
