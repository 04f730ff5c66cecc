"""A picture and a question -> what a model takes of them."""
