"""What an explanation costs, stage by stage."""
