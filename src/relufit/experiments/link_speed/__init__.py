"""Seconds between hosts: what compression gains on links of several speeds, and how fast whole runs come to w*."""
