"""Logs and metrics, as lines that CloudWatch reads."""
