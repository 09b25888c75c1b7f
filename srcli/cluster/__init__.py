"""The jobs of one command on many workers, through Ray: the same events, the same files."""
