"""Playbook executions: the adapter over ansible-runner, and the jobs that queue for it."""
