;; fails: out-of-fuel in evaluate
;; A call costs the host more than the guest; after the last stored line it costs the host almost nothing.
;; in imports
(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))
;; in evaluate
(loop $again (call $note (i32.const 1024) (i32.const 64)) (br $again))
