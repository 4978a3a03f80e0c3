"""The functions, as a cloud invokes them: `handler(event, context)`, a few lines each.

Each has one asynchronous core that takes the services; the synchronous face is for Lambda.
"""
