"""Decoder-only students."""
