"""The stages of a scan: read, segment, classify, write.

Each stage takes a table of tiles and returns one row per tile, also for a tile that fails. Its
class declares the resources that it needs (`pool`) next to the work that it does.
"""
