;; fails: out-of-fuel in evaluate
;; Notes without a byte count as lines.
;; in imports
(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))
;; in evaluate
(loop $again (call $note (i32.const 0) (i32.const 0)) (br $again))
