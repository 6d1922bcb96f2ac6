"""The recorder: extracts domains and LLM conversations from a proxy's traffic, per workspace.

Its two processes have a package each, ``proxy`` and ``writer``, which import nothing of each other. What both need is
beside them. Only ``__main__`` and the proxy's ``addon`` and ``bounds`` know mitmproxy. Everything else is plain Python,
so it can be tested without a proxy.
"""
