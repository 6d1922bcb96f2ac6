"""Docker: the interface that the core uses, and its implementation with Docker's SDK."""
