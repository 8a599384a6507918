;; fails: trap in describe
;; The log may not be used before the instance is complete.
;; in imports
(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))
;; in items
(func $start (call $note (i32.const 0) (i32.const 4)) unreachable)
(start $start)
