"""Everything that can be measured on a machine, each part in a process of its own."""
