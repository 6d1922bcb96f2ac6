"""What every other package of the API uses: errors, responses, the OpenAPI document, logs, limits."""
