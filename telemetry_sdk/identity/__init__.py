"""Who this install is: its id, its state file and where that lies."""
