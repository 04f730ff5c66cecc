"""From a `Meter` to a bundle: the evidence graph with its gradients, the writers of both formats, the parity certificate."""
