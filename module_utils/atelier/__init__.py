"""Atelier's core: all decisions, independent of Ansible and HTTP.

It loads as ``ansible.module_utils.atelier`` inside a module and as ``atelier`` in the API and in tests, so it uses
relative imports only. It never prints, never exits, never reads the environment.
"""
