"""The trainings: each stage is a plain Lightning module over slices on disk."""
