"""Changes as jobs: how routes submit them and wait for them."""
