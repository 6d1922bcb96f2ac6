"""Changes as jobs: the playbook of each, and how routes submit it."""
