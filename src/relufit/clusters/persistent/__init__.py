"""Clusters that outlive the command that started them: up, status, down, and a command between up and down."""
