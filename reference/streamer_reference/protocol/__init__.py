"""The wire: messages, their validation, their errors. Imports nothing of the rest."""
