"""What a job does around its stage: logs, threads, device, progress, resuming."""
