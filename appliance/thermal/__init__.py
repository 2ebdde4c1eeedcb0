"""Heat and power: readings of the board to limits of the engines. `governor` decides (pure), `loop` acts."""
