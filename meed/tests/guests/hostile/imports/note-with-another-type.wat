;; refused: wrong-world
;; The right name for a function that would return something.
;; in imports
(import "meed:condition/log@1.0.0" "note" (func (param i32 i32) (result i32)))
