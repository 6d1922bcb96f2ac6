"""What runs in mitmproxy's process, and sends copies of the traffic to the writer's."""
