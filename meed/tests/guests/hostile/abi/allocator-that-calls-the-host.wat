;; fails: trap in evaluate
;; The instance may not be left while the host hands over its input.
;; in imports
(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))
;; in realloc
(call $note (i32.const 0) (i32.const 4))
