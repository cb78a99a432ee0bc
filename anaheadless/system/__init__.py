"""What the operating system offers: processes, files, programs and libraries."""
