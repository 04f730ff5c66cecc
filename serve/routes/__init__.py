"""Routes by protocol, and what OpenAPI says of them."""
