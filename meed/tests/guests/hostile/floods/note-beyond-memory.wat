;; fails: malformed-answer in evaluate
;; in imports
(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))
;; in evaluate
(call $note (i32.const 65536) (i32.const -1))
