"""What a Fiedler vector costs, against other solvers."""
