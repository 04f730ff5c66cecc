"""The METER network in PyTorch: its checkpoint reader, its eager reference session and its demo model."""
