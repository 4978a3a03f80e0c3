"""streamproof: does a request system over API Gateway WebSocket keep its contract, and how fast.

Import what you need from the submodules; this module stays empty so that the command line starts
in a fraction of a second.
"""
