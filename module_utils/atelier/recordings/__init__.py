"""Recorded conversations with language models: reading, reports, Markdown."""
