"""From a message to a client: the management API, its client, and the manager over it."""
