"""The values that templates show, where these are not the API's answers themselves: plain functions."""
