"""The request protocol as a model: every state that it can reach is visited and judged.

What is modelled, and what is not, is in `docs/model.md`. The transition table of the implementation
is an argument; nothing here imports one.
"""
