"""What is remembered: connections, requests with their outbox, subscriptions, workers' leases."""
