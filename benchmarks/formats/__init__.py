"""Every file read and written back, and the results judged by others' programs; writes docs/formats.md."""
