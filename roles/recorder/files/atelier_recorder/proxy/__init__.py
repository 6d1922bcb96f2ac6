"""The modules of mitmproxy's process, which sends copies of the traffic to the writer's."""
