"""Task logs: where lines are kept and how they are read back, with every loss named."""
