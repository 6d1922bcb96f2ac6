"""The recorder: extracts domains and LLM conversations from a proxy's traffic, per workspace.

Only ``addon`` and ``__main__`` know mitmproxy. Everything else is plain Python, so it can be tested without a proxy.
"""
