"""Published models: what is known of them, and how one is brought to this machine. The one room that opens a connection."""
