"""Quality: measures with a reference (`reference`) and without (`reference_free`), and what shows them (`report`)."""
