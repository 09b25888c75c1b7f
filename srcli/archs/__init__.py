"""The networks, one file each. Imports torch only."""
