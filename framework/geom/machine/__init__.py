"""The resources of the process: cores, memory, devices, control groups."""
