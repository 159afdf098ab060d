"""Handlers for AWS Lambda: the doors of those who run no servers."""
