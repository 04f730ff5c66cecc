"""Work that is cut into chunks, shared out among workers: in this process, in processes of this machine, on a cluster."""
