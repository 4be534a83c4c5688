"""What the process has: cores, memory, devices, control groups."""
