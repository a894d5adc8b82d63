"""Pub/Sub: subscriptions that are pulled, and acknowledged message by message."""
