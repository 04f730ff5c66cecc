"""A run's chunks, shared out among workers: in this process, in processes of this machine, on a cluster."""
