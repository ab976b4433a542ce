"""The operating system and the machine: locks, child processes, disks, devices, errors."""
