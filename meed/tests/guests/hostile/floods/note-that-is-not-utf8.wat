;; fails: malformed-answer in evaluate
;; in imports
(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))
;; in evaluate
(i32.store8 (i32.const 0) (i32.const 0xff))
(call $note (i32.const 0) (i32.const 1))
