;; fails: trap in evaluate
;; in imports
(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))
;; in items
(func (export "cabi_post_evaluate") (param i32) (call $note (i32.const 0) (i32.const 4)))
