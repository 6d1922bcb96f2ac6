"""The pages: HTML over the functions of the JSON API. Every change is an API call."""
