;; refused: import-not-allowed
;; in imports
(import "meed:condition/log" "note" (func (param i32 i32)))
