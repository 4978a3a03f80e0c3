"""Streamer, the reference implementation: long requests over API Gateway WebSocket.

Read `protocol` for the wire, `core` for the decisions, `router` and `worker` for the two halves of
a request's life, `store` for what is remembered, `lambdas` for what a cloud invokes.
"""
