;; refused: import-not-allowed
;; in imports
(import "meed:condition/log@1.0.1" "note" (func (param i32 i32)))
