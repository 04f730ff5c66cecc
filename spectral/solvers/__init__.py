"""The algorithms that find a Fiedler vector, one a file, each with its proof; `xai.spectral.choose` says which is tried when."""
