;; fails: out-of-fuel in bind
;; in imports
(import "meed:condition/log@1.0.0" "note" (func $note (param i32 i32)))
;; in bind
(loop $again (call $note (i32.const 1024) (i32.const 64)) (br $again))
