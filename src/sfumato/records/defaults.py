"""Where schemes and studies seal unless their options say otherwise. ``sfumato seal`` takes a level that was measured."""

SEAL_STEP, CONDITION_STEP = 600, 200
DERIVED_SEAL_STEP = 800  # of a study's derived conditions: none leaves
