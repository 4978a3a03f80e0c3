"""The decisions, pure: values in, values out; time and chance are arguments."""
