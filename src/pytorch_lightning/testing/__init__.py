"""What users run on their own modules: exact resume, and faults on several ranks."""
