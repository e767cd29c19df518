"""The same with real ranks: bytes through sockets, seconds by the clock."""
