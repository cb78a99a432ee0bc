"""The operating system: processes, files, programs and libraries."""
