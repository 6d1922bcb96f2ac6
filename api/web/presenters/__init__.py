"""The values that templates show, as plain functions."""
