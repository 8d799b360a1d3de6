"""How much one pod can do, and what to ask of the cluster for the traffic that is expected."""
