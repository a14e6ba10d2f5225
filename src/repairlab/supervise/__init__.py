"""supervise: what watches over the units of RepairLab."""
