"""The only code that speaks to stores: the seam, its engines, and the metadata database."""
