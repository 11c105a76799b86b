"""Quality: measures against a reference (`reference`), and the page and picture that show them (`report`)."""
