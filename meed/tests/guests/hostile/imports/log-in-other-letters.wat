;; refused: import-not-allowed
;; A name that looks the same: its o is Greek.
;; in imports
(import "meed:condition/lοg@1.0.0" "note" (func (param i32 i32)))
