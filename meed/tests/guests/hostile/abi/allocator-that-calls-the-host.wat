;; fails: trap in evaluate
;; The instance must not call the host while the host passes its input.
;; in imports
(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))
;; in realloc
(call $note (i32.const 0) (i32.const 4))
