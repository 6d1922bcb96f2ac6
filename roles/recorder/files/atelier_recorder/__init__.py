"""The recorder: what a proxy's traffic says about domains and LLM conversations, kept for each workspace.

Only ``addon`` and ``__main__`` know mitmproxy. Everything else is plain Python, so it can be tested without a proxy.
"""
