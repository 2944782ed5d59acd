"""Where pictures and conditions are sealed unless somebody says otherwise: in every command, scheme and study."""

SEAL_STEP, CONDITION_STEP = 600, 200
DERIVED_SEAL_STEP = 800  # of a study's derived conditions: none leaves
